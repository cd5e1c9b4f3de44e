//! Turns the text of `edges.toml` into constant tables. A mistake is named with its line: a role that is no
//! process, a method that is none or that nobody may call, a row that stands there twice, unknown words.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Deserialize;
use toml::Spanned;

/// The file, as messages name it.
const FILE: &str = "proto/edges.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    process: Vec<Process>,
    edge: Vec<Edge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    role: Spanned<String>,
    binary: String,
    starts: Spanned<String>,
    job: String,
    holds: String,
    network: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    client: Spanned<String>,
    server: Spanned<String>,
    carries: Spanned<String>,
    methods: Vec<Method>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Method {
    name: Spanned<String>,
    max: Spanned<u32>,
    rate: Spanned<u32>,
    retry: Spanned<String>,
    #[serde(default)]
    waits: bool,
}

/// Words of the table and the names that they become.
type Words = &'static [(&'static str, &'static str)];

const STARTS: Words = &[
    ("always", "Always"),
    ("plan", "Plan"),
    ("demand", "Demand"),
    ("self", "Itself"),
    ("person", "Person"),
];
const CARRIES: Words = &[("grpc", "Grpc"), ("frames", "Frames")];
const RETRY: Words = &[("safe", "Safe"), ("by-id", "ById"), ("no", "No")];

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    /// What is wrong, with the line of the value.
    fn mistake<T>(&self, value: &Spanned<T>, message: &str) -> String {
        self.at(value.span().start, message)
    }

    fn at(&self, offset: usize, message: &str) -> String {
        let before = self.text.get(..offset).unwrap_or_default();
        format!("{FILE}:{}: {message}", before.matches('\n').count() + 1)
    }

    fn unknown<'a>(
        &self,
        value: &Spanned<String>,
        kind: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> String {
        let name = value.get_ref();
        let nearest = known
            .map(|known| (strsim::osa_distance(known, name), known))
            .min()
            .map(|(_, nearest)| format!("; the nearest known one is {nearest:?}"));
        let nearest = nearest.unwrap_or_default();
        self.mistake(value, &format!("unknown {kind} {name:?}{nearest}"))
    }

    fn word(
        &self,
        value: &Spanned<String>,
        kind: &str,
        words: Words,
    ) -> Result<&'static str, String> {
        let found = words.iter().find(|(word, _)| word == value.get_ref());
        found
            .map(|(_, name)| *name)
            .ok_or_else(|| self.unknown(value, kind, words.iter().map(|(word, _)| *word)))
    }

    /// Refuses an end of an edge that no process is.
    fn role(&self, value: &Spanned<String>, processes: &[Process]) -> Result<(), String> {
        let roles = || processes.iter().map(|process| process.role.get_ref());
        let name = value.get_ref();
        let known = match name.strip_suffix('*') {
            Some(family) => family.ends_with('-') && roles().any(|role| role.starts_with(family)),
            None => roles().any(|role| role == name),
        };
        match known {
            true => Ok(()),
            false => Err(self.unknown(value, "role", roles().map(String::as_str))),
        }
    }

    fn above_zero(&self, value: &Spanned<u32>) -> Result<u32, String> {
        match *value.get_ref() {
            0 => Err(self.mistake(value, "this must be above zero")),
            number => Ok(number),
        }
    }

    /// Refuses a name that stood before.
    fn once<'a, T: Ord>(
        &self,
        seen: &mut BTreeSet<T>,
        key: T,
        value: &'a Spanned<String>,
    ) -> Result<&'a str, String> {
        match seen.insert(key) {
            true => Ok(value.get_ref()),
            false => {
                let message = format!("{:?} stands there twice", value.get_ref());
                Err(self.mistake(value, &message))
            }
        }
    }
}

/// The tables for all processes and edges. `known` are the methods of the .proto files, `streams` those
/// that answer with a stream.
///
/// # Errors
/// The first mistake, with file and line.
pub fn tables(
    text: &str,
    known: &BTreeSet<String>,
    streams: &BTreeSet<String>,
) -> Result<String, String> {
    let reader = Reader { text };
    let table: Table = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        reader.at(offset, error.message())
    })?;
    let mut out = String::from(
        "/// Every kind of process, in the order of `edges.toml`.\npub static PROCESSES: &[Process] = &[\n",
    );
    let mut roles = BTreeSet::new();
    for p in &table.process {
        let role = reader.once(&mut roles, p.role.get_ref(), &p.role)?;
        let starts = reader.word(&p.starts, "way to start", STARTS)?;
        let _ = writeln!(
            out,
            "Process {{ role: {role:?}, binary: {:?}, starts: Starts::{starts}, job: {:?}, holds: {:?}, network: {:?} }},",
            p.binary, p.job, p.holds, p.network
        );
    }
    out.push_str("];\n/// Every permitted direction.\npub static EDGES: &[Edge] = &[\n");
    let mut edges = BTreeSet::new();
    let mut granted = BTreeSet::new();
    for e in &table.edge {
        reader.role(&e.client, &table.process)?;
        reader.role(&e.server, &table.process)?;
        let ends = (e.client.get_ref(), e.server.get_ref());
        reader.once(&mut edges, ends, &e.client)?;
        let carries = reader.word(&e.carries, "carrier", CARRIES)?;
        let _ = writeln!(
            out,
            "Edge {{ client: {:?}, server: {:?}, carries: Carries::{carries}, methods: &[",
            ends.0, ends.1
        );
        let mut names = BTreeSet::new();
        for m in &e.methods {
            let name = reader.once(&mut names, m.name.get_ref(), &m.name)?;
            let retry = reader.word(&m.retry, "retry", RETRY)?;
            let path = match carries {
                "Grpc" if known.contains(name) => {
                    granted.insert(name);
                    path(name)
                }
                "Grpc" => {
                    let known = known.iter().map(String::as_str);
                    return Err(reader.unknown(&m.name, "method", known));
                }
                _ => name.to_owned(),
            };
            let (max, rate) = (reader.above_zero(&m.max)?, reader.above_zero(&m.rate)?);
            let (streams, waits) = (streams.contains(name), m.waits);
            let _ = writeln!(
                out,
                "Method {{ path: {path:?}, max: {max}, rate: {rate}, retry: Retry::{retry}, streams: {streams}, waits: {waits} }},",
            );
        }
        out.push_str("] },\n");
    }
    out.push_str("];\n");
    let mut orphans = known.iter().filter(|name| !granted.contains(name.as_str()));
    if let Some(orphan) = orphans.next() {
        return Err(format!(
            "{FILE}: nobody may call {orphan}; grant it or delete it"
        ));
    }
    let all: Vec<String> = known.iter().map(|name| path(name)).collect();
    let _ = writeln!(
        out,
        "/// Every gRPC method that exists, by its path.\npub static METHODS: &[&str] = &{all:?};"
    );
    Ok(out)
}

/// The path of a method in HTTP.
fn path(name: &str) -> String {
    format!("/clawdbot.v1.{}", name.replacen('.', "/", 1))
}
