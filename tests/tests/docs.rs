//! The pages of `docs/` that come from the code say what the code says. `cargo xtask docs` writes them: it sets
//! `CLAWDBOT_WRITE_DOCS` to the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use clawdbot_confine::landlock::Access;
use clawdbot_confine::profile::{Arch, Mode, PROFILES, Profile, Row};
use clawdbot_proto::edges::{Carries, EDGES, Edge, PROCESSES, Retry, Starts};
use clawdbot_tests::Scratch;

mod pages;

/// Stands at the top of a page that is generated as a whole.
const GENERATED: &str =
    "<!-- Written by `cargo xtask docs` from the code; edits here get lost. -->\n\n";

/// File, what is in it, what should be.
fn pages() -> Vec<(&'static str, &'static str, String)> {
    vec![
        (
            "processes.md",
            include_str!("../../docs/processes.md"),
            processes(),
        ),
        ("edges.md", include_str!("../../docs/edges.md"), edges()),
        (
            "config.md",
            include_str!("../../docs/config.md"),
            clawdbot_config::reference_markdown(),
        ),
        (
            "start-order.md",
            include_str!("../../docs/start-order.md"),
            start_order(),
        ),
        (
            "checks.md",
            include_str!("../../docs/checks.md"),
            clawdbot_cli::checks_markdown(),
        ),
        (
            "commands.md",
            include_str!("../../docs/commands.md"),
            pages::commands::page(),
        ),
        (
            "limits.md",
            include_str!("../../docs/limits.md"),
            pages::limits::page(),
        ),
        (
            "config.schema.json",
            include_str!("../../docs/config.schema.json"),
            format!("{:#}\n", clawdbot_config::json_schema()),
        ),
        (
            "doctor.schema.json",
            include_str!("../../docs/doctor.schema.json"),
            format!("{:#}\n", clawdbot_cli::doctor_schema()),
        ),
    ]
}

#[test]
fn the_generated_pages_are_current() {
    let write = std::env::var_os("CLAWDBOT_WRITE_DOCS");
    let mut stale = Vec::new();
    for (name, present, text) in pages() {
        let wanted = match name.ends_with(".json") {
            true => text,
            false => format!("{GENERATED}{text}"),
        };
        match &write {
            Some(folder) => std::fs::write(Path::new(folder).join(name), wanted).unwrap(),
            None if present != wanted => stale.push(name),
            None => {}
        }
    }
    assert!(
        stale.is_empty(),
        "out of date: {}; write them with: cargo xtask docs",
        stale.join(", ")
    );
}

/// A page of the guides, and the pages that people copy from.
const GUIDES: [(&str, &str); 7] = [
    ("README.md", include_str!("../../README.md")),
    (
        "configuration.md",
        include_str!("../../docs/configuration.md"),
    ),
    (
        "installation.md",
        include_str!("../../docs/installation.md"),
    ),
    (
        "privacy-and-security.md",
        include_str!("../../docs/privacy-and-security.md"),
    ),
    (
        "usage-mac-mini.md",
        include_str!("../../docs/usage-mac-mini.md"),
    ),
    (
        "usage-raspberry-pi.md",
        include_str!("../../docs/usage-raspberry-pi.md"),
    ),
    ("usage-vps.md", include_str!("../../docs/usage-vps.md")),
];

/// What stands between fences that begin with this.
fn blocks<'a>(page: &'a str, fence: &str) -> Vec<&'a str> {
    let (mut found, mut rest) = (Vec::new(), page);
    while let Some((_, after)) = rest.split_once("\n```") {
        let (kind, after) = after.split_once('\n').unwrap();
        let (block, after) = after.split_once("```").unwrap();
        if kind == fence {
            found.push(block);
        }
        rest = after;
    }
    found
}

#[test]
fn configurations_in_the_guides_do_what_the_page_says() {
    let (mut good, mut refused) = (0, 0);
    for (name, page) in GUIDES {
        for block in blocks(page, "json5") {
            let loaded = clawdbot_config::parse(name, block.as_bytes());
            if block.starts_with("// refused") {
                assert!(loaded.is_err(), "{name}: {block}");
                refused += 1;
                continue;
            }
            let loaded = loaded.unwrap_or_else(|error| panic!("{}", error.render(false)));
            assert!(loaded.findings.is_empty(), "{name}: {:?}", loaded.findings);
            let inactive = loaded.inactive();
            assert!(inactive.is_empty(), "{name}: {inactive:?}");
            good += 1;
        }
    }
    assert!(good > 10 && refused > 3, "{good} {refused}");
}

/// Each is asked for its own help, so that its words and flags are known.
#[test]
fn commands_in_the_guides_exist() {
    let mut seen = 0;
    for (name, page) in GUIDES {
        for line in blocks(page, "").join("").lines() {
            let line = line.split(" #").next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let words = words.strip_prefix(&["sudo"]).unwrap_or(&words);
            if !matches!(words.first(), Some(&("clawdbot" | "clawdbotctl"))) {
                continue;
            }
            let mut asked: Vec<&str> = words[1..].to_vec();
            // In a table the flags and words come first, what they do after a gap.
            if let Some(gap) = line.trim().find("   ") {
                asked = line.trim()[..gap].split_whitespace().skip(1).collect();
            }
            // What is to be filled in is written in capitals.
            let fill = asked.iter_mut().filter(|word| **word == "NAME");
            fill.for_each(|word| *word = "name");
            asked.push("--help");
            let helped = Scratch::new().clawdbot(&asked);
            assert_eq!(helped.code, Some(0), "{name}: {line}: {helped:?}");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

/// Names of tests are long and have underscores, those of attempts have a dot.
#[test]
fn every_test_that_the_threat_model_names_exists() {
    let mut sources = String::new();
    // Where the sources are now: tests may have been moved to where everybody can run them.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    read_all(Path::new(&own).parent().unwrap(), &mut sources);
    let attempts = attempts();
    let model = include_str!("../../docs/threat-model.md");
    let (mut tests, mut rows) = (0, 0);
    for word in model.split('`').skip(1).step_by(2) {
        let is = |wanted: fn(char) -> bool| {
            word.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || wanted(c))
        };
        if word.matches('_').count() > 1 && is(|c| c == '_') {
            assert!(
                sources.contains(&format!("fn {word}(")),
                "there is no test {word}"
            );
            tests += 1;
        } else if word.contains('.')
            && is(|c| c == '.' || c == '-')
            && !word.ends_with(".toml")
            && !word.ends_with(".sock")
            && !word.ends_with(".log")
        {
            assert!(attempts.contains(word), "there is no attempt {word}");
            rows += 1;
        }
    }
    assert!(tests > 60 && rows > 0, "{tests} tests, {rows} attempts");
}

/// `group.name` of each row of the escape table.
fn attempts() -> BTreeSet<String> {
    let mut group = "";
    let mut names = BTreeSet::new();
    for line in include_str!("../../crates/confine/attempts/escape.toml").lines() {
        if let Some(named) = line.strip_prefix('[') {
            group = named.trim_end_matches(']');
        } else if let Some((name, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            names.insert(format!("{group}.{}", name.trim()));
        }
    }
    names
}

/// The text of all sources below a folder, what cargo and git keep left out.
fn read_all(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let built = path.join("CACHEDIR.TAG").exists() || path.join("objects").exists();
            if !built && !path.ends_with(".git") && !path.ends_with("node_modules") {
                read_all(&path, text);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

fn processes() -> String {
    let mut page = String::from(
        "# Processes\n\n\
         One row for each kind of process, from `proto/edges.toml`. `NAME` stands for an instance. Who may call whom is in \
         [edges.md](edges.md), what each may ask of the kernel in [start-order.md](start-order.md).\n\n\
         | Role | Program | Runs | What it is for | What it holds | Network |\n|---|---|---|---|---|---|\n",
    );
    for process in PROCESSES {
        let starts = match process.starts {
            Starts::Always => "always",
            Starts::Plan => "when the configuration asks for it",
            Starts::Demand => "for one request",
            Starts::Itself => "starts the others",
            Starts::Person => "when somebody uses it",
        };
        let row = [process.job, process.holds, process.network].join(" | ");
        writeln!(
            page,
            "| {} | `{}` | {starts} | {row} |",
            process.role, process.binary
        )
        .unwrap();
    }
    page.push_str("\n## Who talks to whom\n\n| Role | calls | is called by |\n|---|---|---|\n");
    for process in PROCESSES {
        let calls = others(process.role, |edge| (edge.client, edge.server));
        let called = others(process.role, |edge| (edge.server, edge.client));
        writeln!(page, "| {} | {calls} | {called} |", process.role).unwrap();
    }
    page
}

/// The far ends of all edges whose near end is `role`.
fn others(role: &str, ends: impl Fn(&'static Edge) -> (&'static str, &'static str)) -> String {
    let is = |end: &str| clawdbot_proto::edges::matches(end, role);
    let far: BTreeSet<&str> = EDGES
        .iter()
        .map(ends)
        .filter(|(near, _)| is(near))
        .map(|(_, far)| far)
        .collect();
    if far.is_empty() {
        String::from("nobody")
    } else {
        far.into_iter().collect::<Vec<_>>().join(", ")
    }
}

fn edges() -> String {
    let mut page = String::from(
        "# Edges\n\n\
         Every call that exists, from `proto/edges.toml`. Whatever is not here is refused, by the caller's own side and by \
         the server, before any service sees it. The caller is known by the connection, never by what a message says.\n\n\
         *Largest* is the size of a request in bytes. *Rate* is calls a second of one client, however many \
         connections it has, with a burst of the same number. *Lost* is what happens to a call whose server died before it answered: *again* repeats it, *by id* repeats \
         it with the id by which the server knows what it has answered, *reported* gives the caller an error.\n",
    );
    for edge in EDGES {
        let carries = match edge.carries {
            Carries::Grpc => "gRPC",
            Carries::Frames => "frames, which can carry descriptors",
        };
        writeln!(
            page,
            "\n## {} → {}\n\n{carries}\n",
            edge.client, edge.server
        )
        .unwrap();
        page.push_str("| Method | Answer | Largest | Rate | Lost |\n|---|---|---|---|---|\n");
        for method in edge.methods {
            let name = method
                .path
                .trim_start_matches("/clawdbot.v1.")
                .replace('/', ".");
            let answer = if method.streams { "stream" } else { "one" };
            let lost = match method.retry {
                Retry::Safe => "again",
                Retry::ById => "by id",
                Retry::No => "reported",
            };
            writeln!(
                page,
                "| {name} | {answer} | {} | {} | {lost} |",
                method.max, method.rate
            )
            .unwrap();
        }
    }
    page
}

/// The steps as the code that performs them lists them, then what is left to a process afterwards.
fn start_order() -> String {
    let steps = include_str!("../../crates/service/src/run.rs")
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)));
    let mut page = format!(
        "# Start order and confinement\n\n{}",
        steps.collect::<String>()
    );
    page.push_str(
        "\nWhat is left to a process after step 6 is in its profile (`crates/confine/profiles`), of which these tables are \
         made. A system call without a row ends the process. Without a row a file is out of reach. *Single* is single-user \
         mode, *system* is system mode, one user for each process; the calls are those of x86_64.\n\n\
         | Profile | Network namespace | TCP connect | Calls (single) | Calls (system) | Open files | Locked memory | Largest file |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for profile in PROFILES {
        let limits = profile.limits();
        let count = |mode| match profile.filter {
            true => calls(profile, mode).len().to_string(),
            false => "no filter".into(),
        };
        let number = |value: Option<u64>| {
            value.map_or_else(|| "as inherited".into(), |value| value.to_string())
        };
        let namespace = if profile.own_network {
            "own, empty"
        } else {
            "the host's"
        };
        let connect = if profile.connect_tcp { "yes" } else { "no" };
        let (single, system) = (count(Mode::Single), count(Mode::System));
        let (files, memory) = (number(limits.nofile), number(limits.memlock));
        writeln!(
            page,
            "| {} | {namespace} | {connect} | {single} | {system} | {files} | {memory} | {} |",
            profile.name,
            number(limits.fsize)
        )
        .unwrap();
    }
    page.push_str(
        "\n## Files\n\n\
         `STATE` is the state directory, `CONFIG` the folder of the configuration file, `WORKSPACE` the workspaces of the \
         agent's class, `RUN` the folder of the operator's sockets, `EDGES` that of the edges' sockets, `PLAN` that of \
         policy's flags for the service manager and the one in the state directory where its settings are kept, `SECRETS` the folder `secrets` beside the configuration, `CREDENTIALS` that \
         of the service manager's credentials, `INSTANCE` the agent's class or the channel's name. A folder stands for all that is in it. The folders in `STATE` are made by the \
         start, for the user of the process alone. What may be absent is then out of reach; everything else ends the start \
         when it is missing, and the message names the line of the profile.\n\n\
         | Profile | Place | May | Mode | May be absent |\n|---|---|---|---|---|\n",
    );
    for profile in PROFILES.iter().filter(|profile| profile.filter) {
        for row in profile.all_files() {
            let may = match row.access {
                Access::Read => "read files",
                Access::ReadDir => "read files, list",
                Access::ReadWriteDir => "list; read, write, create, rename, remove",
                Access::RemoveFiles => "remove files",
                Access::Connect => "connect to sockets",
            };
            let mode = row.mode.map_or("both", Mode::as_str);
            let absent = if row.optional { "yes" } else { "no" };
            writeln!(
                page,
                "| {} | `{}` | {may} | {mode} | {absent} |",
                profile.name, row.place
            )
            .unwrap();
        }
    }
    let shared = shared_calls();
    writeln!(
        page,
        "\n## Calls\n\nEvery filtered process may use: {}.\n\nBeyond that, in single-user mode:\n",
        list(&shared)
    )
    .unwrap();
    for profile in PROFILES.iter().filter(|profile| profile.filter) {
        let own: BTreeSet<_> = calls(profile, Mode::Single)
            .difference(&shared)
            .copied()
            .collect();
        let own = if own.is_empty() {
            "nothing".into()
        } else {
            list(&own)
        };
        writeln!(page, "- **{}**: {own}", profile.name).unwrap();
    }
    page.push_str(
        "\nA name says that there is a row; most rows bind the arguments too. These calls, with the arguments that their rows \
         name, are answered with an error, for libraries that probe them or for the self-test; all others end the process:\n\n",
    );
    for (call, profiles) in refused() {
        writeln!(page, "- `{call}`: {profiles}").unwrap();
    }
    page
}

/// Names of the calls that a profile lets through.
fn calls(profile: &Profile, mode: Mode) -> BTreeSet<&'static str> {
    profile.calls(mode, Arch::X86_64)
}

/// Calls that are answered with an error, and in whose profiles.
fn refused() -> BTreeMap<&'static str, String> {
    let filtered = || PROFILES.iter().filter(|profile| profile.filter);
    let refuses = |profile: &Profile, call: &str| {
        let all = Mode::ALL.into_iter().flat_map(|mode| profile.rows(mode));
        let mut refusals = all.filter(|row| row.errno.is_some());
        refusals.any(|row| row.call == call)
    };
    let rows = filtered().flat_map(|profile| profile.sections);
    let rows = rows.flat_map(|section| section.rows);
    rows.filter(|row: &&Row| row.errno.is_some())
        .map(|row| {
            let names: Vec<_> = filtered()
                .filter(|profile| refuses(profile, row.call))
                .map(|profile| profile.name)
                .collect();
            match names.len() == filtered().count() {
                true => (row.call, "all".to_owned()),
                false => (row.call, names.join(", ")),
            }
        })
        .collect()
}

fn shared_calls() -> BTreeSet<&'static str> {
    let filtered = PROFILES.iter().filter(|profile| profile.filter);
    filtered
        .map(|profile| calls(profile, Mode::Single))
        .reduce(|all, own| &all & &own)
        .unwrap_or_default()
}

fn list(calls: &BTreeSet<&str>) -> String {
    calls
        .iter()
        .map(|call| format!("`{call}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
