//! Checks a whole log: every line against the one before, every file against the one before, the end against the head,
//! checkpoints against their seals and against copies that lie elsewhere. Says what is wrong and where, and goes on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};

use crate::chain::{Chain, Line, MAX_LINE};
use crate::files::{LogFile, list};
use crate::head::{HEAD, Head};
use crate::hex;
use crate::seal::Key;

/// Problems that are told; a log with more is no better known by them.
const MAX_PROBLEMS: usize = 20;
/// Keys that are made from the first one: a checkpoint a minute for sixty years, and some seconds of work.
const MAX_STEPS: u64 = 1 << 25;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Records that were read.
    pub records: u64,
    /// Checkpoints among them.
    pub checkpoints: u64,
    /// Number of the first and the last record.
    pub range: (u64, u64),
    /// Seals that were compared with their key.
    pub seals: u64,
    /// Copies of checkpoints that were compared.
    pub witnesses: u64,
    /// The last line is not whole: the writer was ended within it, before it was answered.
    pub torn: bool,
    /// The first ones; none when the log is intact.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file.
    pub file: String,
    /// Line in it, from 1; zero for all of it.
    pub line: u64,
    /// What, in words.
    pub what: String,
}

/// A checkpoint as it was told elsewhere when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// The checkpoint's record.
    pub n: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// What the log is compared with beside itself.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The first key.
    pub key: Option<Key>,
    /// Copies of checkpoints, the oldest first.
    pub witnesses: Vec<Witness>,
}

/// Checks the log in a folder.
///
/// # Errors
/// When a file cannot be read.
pub fn verify(folder: &Path, proof: &Proof) -> io::Result<Verdict> {
    // While the log is written to, a file may be put away between two looks.
    let mut tries = 0;
    loop {
        let before = read_head(folder)?;
        let result = Check::new(before.as_deref(), proof).run(folder);
        tries += 1;
        let settled = tries == 3 || read_head(folder)? == before;
        match result {
            Ok(verdict) if verdict.problems.is_empty() || settled => return Ok(verdict),
            Err(error) if settled => return Err(error),
            _ => {}
        }
    }
}

fn read_head(folder: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(folder.join(HEAD)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(error) => Err(error),
    }
}

/// What an earlier file's end was when it was removed on purpose.
struct Dropped {
    file: u64,
    chain: Chain,
}

struct Check<'a> {
    head: Option<Head>,
    proof: &'a Proof,
    witnesses: BTreeMap<u64, [u8; 32]>,
    verdict: Verdict,
    chain: Option<Chain>,
    /// Number of the last file, and the chain before the first.
    file: Option<u64>,
    before: Option<(u64, Chain)>,
    dropped: Vec<Dropped>,
    /// The next checkpoint, and its key if it is known.
    seal: Option<(u64, Option<Key>)>,
    /// Keys that may still be made: the log says how many, and it may lie.
    steps: u64,
    name: String,
    line: u64,
}

impl<'a> Check<'a> {
    fn new(head: Option<&str>, proof: &'a Proof) -> Self {
        let mut check = Self {
            head: head.and_then(Head::parse),
            proof,
            // The oldest copy of a checkpoint stands: who writes the log anew can have new copies told, and no old ones back.
            witnesses: { proof.witnesses.iter().rev() }
                .map(|w| (w.n, w.hash))
                .collect(),
            verdict: Verdict::default(),
            chain: None,
            file: None,
            before: None,
            dropped: Vec::new(),
            seal: None,
            steps: MAX_STEPS,
            name: HEAD.to_owned(),
            line: 0,
        };
        match (check.head.clone(), &proof.key) {
            (None, _) => check.wrong("is missing or damaged: where the log ended is not known"),
            (Some(head), Some(_)) => {
                let key = check.key(head.checkpoint);
                if key != Some(head.key) {
                    check.wrong("holds a key that does not follow from the first key: the seal was begun anew, or this is the key of another log");
                }
            }
            (Some(_), None) => {}
        }
        check
    }

    fn wrong(&mut self, what: impl Into<String>) {
        if self.verdict.problems.len() < MAX_PROBLEMS {
            self.verdict.problems.push(Problem {
                file: self.name.clone(),
                line: self.line,
                what: what.into(),
            });
        }
    }

    /// The key of a checkpoint, as it follows from the first one; nothing without that, or when it is too far.
    fn key(&mut self, checkpoint: u64) -> Option<Key> {
        let first = self.proof.key.as_ref()?;
        let steps = checkpoint.saturating_sub(1);
        self.steps = self.steps.checked_sub(steps)?;
        Some(first.after(steps))
    }

    fn run(mut self, folder: &Path) -> io::Result<Verdict> {
        let files = list(folder)?;
        for (at, file) in files.iter().enumerate() {
            self.read(file, at + 1 == files.len())?;
        }
        self.end();
        Ok(self.verdict)
    }

    fn read(&mut self, file: &LogFile, last: bool) -> io::Result<()> {
        self.name = file.name();
        self.line = 0;
        let mut reader = BufReader::new(File::open(&file.path)?);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let limit = MAX_LINE as u64 + 1;
            let read = (&mut reader).take(limit).read_until(b'\n', &mut bytes)?;
            if read == 0 {
                break;
            }
            self.line += 1;
            match bytes.strip_suffix(b"\n") {
                Some(line) => self.take(line, file.number),
                None if last && read < MAX_LINE => self.verdict.torn = true,
                None => {
                    self.wrong("the file ends within a line");
                    break;
                }
            }
        }
        if self.line == 0 && !last {
            self.wrong("is empty");
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], number: Option<u64>) {
        let Some(line) = Line::parse(bytes) else {
            self.wrong("is no record: it was changed or put in");
            return;
        };
        let own = line.own();
        if self.line == 1 {
            match own.as_ref().and_then(Begin::of) {
                Some(begin) => self.begin(&line, &begin, number),
                None => self.wrong("the beginning of the file is missing"),
            }
        }
        self.follow(&line);
        self.verdict.records += 1;
        if self.verdict.range.0 == 0 {
            self.verdict.range.0 = line.n;
        }
        self.verdict.range.1 = line.n;
        if let Some(fields) = own {
            self.own(&line, &fields);
        }
        // What follows is judged by what stands here: one change is one problem.
        self.chain = Some(line.chain());
        self.compare(&line);
    }

    fn follow(&mut self, line: &Line<'_>) {
        let Some(chain) = self.chain else { return };
        let next = chain.n + 1;
        match line.n {
            n if n > next => self.wrong(format!("the records {next} to {} are missing", n - 1)),
            n if n < next => self.wrong(format!(
                "record {n} stands behind record {}: it was moved or put in",
                chain.n
            )),
            n if !chain.takes(line) => {
                self.wrong(format!("record {n} was changed, or the one before it"));
            }
            _ => {}
        }
    }

    fn begin(&mut self, line: &Line<'_>, begin: &Begin, number: Option<u64>) {
        if number.is_some_and(|number| number != begin.file) {
            self.wrong(format!("this file was number {}", begin.file));
        }
        let stated = Chain {
            n: line.n.saturating_sub(1),
            hash: begin.after,
        };
        match (self.file, self.chain) {
            (Some(file), Some(chain)) => {
                if begin.file != file + 1 {
                    self.wrong(format!(
                        "files are missing between number {file} and number {}",
                        begin.file
                    ));
                } else if chain.n < stated.n {
                    self.wrong(format!(
                        "the records {} to {} are missing at the end of the file before",
                        chain.n + 1,
                        stated.n
                    ));
                } else if chain != stated {
                    self.wrong("does not go on from the file before, the end of which was changed");
                }
            }
            _ => self.before = Some((begin.file, stated)),
        }
        self.file = Some(begin.file);
        // What this file itself says of what was before is what its lines were made from.
        self.chain = Some(stated);
    }

    fn own(&mut self, line: &Line<'_>, fields: &Map<String, Value>) {
        let number = |name: &str| fields.get(name).and_then(Value::as_u64);
        let hash = |name: &str| {
            let text = fields.get(name).and_then(Value::as_str);
            text.and_then(|text| hex::decode(text.as_bytes()))
        };
        match fields.get("request").and_then(Value::as_str) {
            Some("audit-checkpoint") => match (number("checkpoint"), hash("seal")) {
                (Some(checkpoint), Some(seal)) => self.checkpoint(checkpoint, &seal),
                _ => self.wrong("is no checkpoint"),
            },
            Some("audit-dropped") => {
                if let (Some(file), Some(n), Some(hash)) =
                    (number("file"), number("last"), hash("end"))
                {
                    let chain = Chain { n, hash };
                    self.dropped.push(Dropped { file, chain });
                }
            }
            Some("audit-gap") => {
                let found = fields.get("subject").and_then(Value::as_str);
                let found = found.unwrap_or_default();
                self.wrong(format!(
                    "record {} was written when a start found: {found}",
                    line.n
                ));
                self.seal = None;
            }
            _ => {}
        }
    }

    fn checkpoint(&mut self, checkpoint: u64, seal: &[u8; 32]) {
        self.verdict.checkpoints += 1;
        let first = self.before.is_none_or(|(_, chain)| chain.n == 0);
        let begun = self.seal.take();
        let key = match &begun {
            Some((expected, key)) if *expected == checkpoint => key.clone(),
            Some((expected, _)) => {
                self.wrong(format!(
                    "checkpoint {checkpoint} stands where number {expected} belongs"
                ));
                None
            }
            None if first && self.verdict.checkpoints == 1 && checkpoint != 1 => {
                self.wrong("the first checkpoint is missing");
                None
            }
            None => {
                let key = self.key(checkpoint);
                if key.is_none() && self.proof.key.is_some() {
                    self.wrong(format!(
                        "no log has as many checkpoints as the number {checkpoint} says"
                    ));
                }
                key
            }
        };
        if let (Some(key), Some(chain)) = (&key, &self.chain) {
            self.verdict.seals += 1;
            if key.seal(checkpoint, chain) != *seal {
                self.wrong(format!(
                    "the seal of checkpoint {checkpoint} is not genuine: the log before it was made anew"
                ));
            }
        }
        self.seal = Some((checkpoint + 1, key.map(|key| key.next())));
    }

    /// With what is known of this record from elsewhere.
    fn compare(&mut self, line: &Line<'_>) {
        if let Some(hash) = self.witnesses.remove(&line.n) {
            self.verdict.witnesses += 1;
            if hash != line.hash {
                self.wrong(format!(
                    "checkpoint at record {} is not the one that the log of the processes shows",
                    line.n
                ));
            }
        }
        let at_head = self.head.as_ref().filter(|head| head.chain.n == line.n);
        if at_head.is_some_and(|head| head.chain.hash != line.hash) {
            self.wrong(format!("record {} is not the one that was written", line.n));
        }
    }

    fn end(&mut self) {
        let last = self.chain.map_or(0, |chain| chain.n);
        if let Some(head) = &self.head
            && head.chain.n > last
        {
            let from = last + 1;
            let upto = head.chain.n;
            self.wrong(format!(
                "the end is cut off: the records {from} to {upto} are missing"
            ));
        }
        self.seals_to_head();
        let beyond: Vec<u64> = self.witnesses.range(last + 1..).map(|(n, _)| *n).collect();
        if let Some(n) = beyond.last() {
            self.wrong(format!(
                "the end is cut off: the log of the processes shows a checkpoint at record {n}"
            ));
        }
        let Some((file, before)) = self.before else {
            return;
        };
        let dropped = |one: &Dropped| one.file + 1 == file && one.chain == before;
        if before != Chain::default() && !self.dropped.iter().any(dropped) {
            self.line = 0;
            self.name = crate::files::rotated(file);
            self.wrong(format!(
                "the log begins with record {}, and no record says that what was before was dropped",
                before.n + 1
            ));
        }
    }
}

impl Check<'_> {
    /// A log that was cut back to an older checkpoint lacks those that its head knows.
    fn seals_to_head(&mut self) {
        let from_the_start = self.before.is_none_or(|(_, chain)| chain.n == 0);
        let next = match &self.seal {
            Some((next, _)) => *next,
            None if from_the_start && self.verdict.problems.is_empty() => {
                self.verdict.checkpoints + 1
            }
            None => return,
        };
        let known = self.head.as_ref().map_or(0, |head| head.checkpoint);
        if next < known {
            let upto = known - 1;
            self.wrong(format!(
                "the end is cut off: the checkpoints {next} to {upto} are missing"
            ));
        }
    }
}

/// The first record of a file.
struct Begin {
    file: u64,
    after: [u8; 32],
}

impl Begin {
    fn of(fields: &Map<String, Value>) -> Option<Self> {
        if fields.get("request")?.as_str()? != "audit-file" {
            return None;
        }
        Some(Self {
            file: fields.get("file")?.as_u64()?,
            after: hex::decode(fields.get("after")?.as_str()?.as_bytes())?,
        })
    }
}
