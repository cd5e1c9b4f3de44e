//! On a kernel that lacks something the product starts, answers, and says of every process what is
//! missing: never a crash, never silence. Where `sandbox.require` is "full" it starts exactly where
//! nothing is missing that safety rests on.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use clawdbot_tests::kernel::eventually;
use clawdbot_tests::{Output, Product, Scratch, Start, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Which processes lack something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// All but the supervisor, which has limits only.
    All,
    /// Those that have a network of their own.
    Apart,
    /// Those that hold keys.
    Keys,
}

use Who::{All, Apart, Keys};

impl Who {
    fn has(self, role: &str) -> bool {
        match self {
            _ if role == "supervisor" => false,
            All => true,
            Apart => role != "dialer",
            Keys => ["broker", "policy"].contains(&role) || role.starts_with("model-"),
        }
    }
}

/// What a kernel makes of the processes.
struct Row {
    /// Names for `clawdbot-simulate`.
    kernel: &'static str,
    /// The level of those that lack something of the floor, and who these are; all others are full.
    weak: Option<(&'static str, Who)>,
    /// What is missing, in the order of the report.
    missing: &'static [(&'static str, Who)],
    /// The landlock ABI that is reported; `None` for that of this machine.
    landlock: Option<u64>,
}

const fn row(
    kernel: &'static str,
    weak: Option<(&'static str, Who)>,
    missing: &'static [(&'static str, Who)],
) -> Row {
    Row {
        kernel,
        weak,
        missing,
        landlock: None,
    }
}

const fn landlock(abi: u64, row: Row) -> Row {
    Row {
        landlock: Some(abi),
        ..row
    }
}

const PARTIAL: Option<(&str, Who)> = Some(("partial", All));

const ROWS: &[Row] = &[
    landlock(0, row("no-landlock", PARTIAL, &[("landlock", All)])),
    landlock(0, row("landlock-off", PARTIAL, &[("landlock", All)])),
    landlock(1, row("landlock-1", PARTIAL, &[("landlock-2", All)])),
    landlock(2, row("landlock-2", None, &[])),
    landlock(3, row("landlock-3", None, &[])),
    landlock(5, row("landlock-5", None, &[])),
    row("no-seccomp", PARTIAL, &[("seccomp", All)]),
    row("no-seccomp-filter", PARTIAL, &[("seccomp", All)]),
    row("no-userns", None, &[("network-namespace", Apart)]),
    row("userns-limit", None, &[("network-namespace", Apart)]),
    row("userns-unmapped", None, &[("id-map", Apart)]),
    row("no-memfd-secret", None, &[("secret-memory", Keys)]),
    // With the better kind nothing is locked by hand.
    row("no-mlock", None, &[]),
    row(
        "no-memfd-secret,no-mlock",
        Some(("partial", Keys)),
        &[("locked-memory", Keys)],
    ),
    landlock(
        0,
        row(
            "no-landlock,no-seccomp,no-userns",
            Some(("limits", All)),
            &[
                ("landlock", All),
                ("seccomp", All),
                ("network-namespace", Apart),
            ],
        ),
    ),
    // A stock kernel of some years ago in a narrow container.
    landlock(
        1,
        row(
            "landlock-1,no-userns,no-memfd-secret,no-mlock",
            PARTIAL,
            &[
                ("landlock-2", All),
                ("locked-memory", Keys),
                ("network-namespace", Apart),
            ],
        ),
    ),
];

impl Row {
    fn level(&self, role: &str) -> &'static str {
        match self.weak {
            _ if role == "supervisor" => "limits",
            Some((level, who)) if who.has(role) => level,
            _ => "full",
        }
    }

    /// With what this machine's own kernel lacks.
    fn missing(&self, role: &str, own: &Gaps) -> Vec<String> {
        let theirs = self.missing.iter().filter(|(_, who)| who.has(role));
        let mut names: Vec<String> = theirs.map(|(what, _)| (*what).to_owned()).collect();
        names.extend(own.get(role).cloned().unwrap_or_default());
        names.sort();
        names
    }

    /// Everything that somebody lacks.
    fn anywhere(&self, own: &Gaps) -> Vec<String> {
        let theirs = self.missing.iter().map(|(what, _)| (*what).to_owned());
        let mut names: Vec<String> = theirs.chain(own.values().flatten().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What of it the level rests on.
    fn floor(&self) -> impl Iterator<Item = &'static str> {
        const EXTRA: [&str; 3] = ["network-namespace", "id-map", "secret-memory"];
        let all = self.missing.iter().map(|(what, _)| *what);
        all.filter(|what| !EXTRA.contains(what))
    }

    /// One process as some command reports it.
    fn agrees(&self, said_by: &str, process: &Value, own: &Gaps) {
        let role = process["role"].as_str().unwrap();
        let claimed = &process["confinement"];
        let context = format!("{}: {said_by}: {role}: {claimed}", self.kernel);
        assert_eq!(claimed["level"], self.level(role), "{context}");
        let missing = claimed["missing"].as_array().unwrap();
        let names = names(claimed);
        assert_eq!(names, self.missing(role, own), "{context}");
        for missing in missing {
            assert!(
                !missing["meaning"].as_str().unwrap().is_empty(),
                "{context}"
            );
            assert!(!missing["remedy"].as_str().unwrap().is_empty(), "{context}");
        }
        if let Some(abi) = self.landlock.filter(|_| role != "supervisor") {
            assert_eq!(claimed["landlock"], abi, "{context}");
        }
        let seccomp = !names.contains(&"seccomp".to_owned()) && role != "supervisor";
        assert_eq!(claimed["seccomp"], seccomp, "{context}");
    }
}

/// What each process lacks.
type Gaps = BTreeMap<String, Vec<String>>;

fn names(confinement: &Value) -> Vec<String> {
    let missing = confinement["missing"].as_array().unwrap().iter();
    let mut names: Vec<String> = missing
        .map(|missing| missing["what"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// What this machine's own kernel lacks. `None` where that is something that is to be simulated, so that
/// nobody could tell the two apart.
fn own_gaps(test: &str) -> Option<Gaps> {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let processes = product.ready["processes"].as_array().unwrap();
    let own: Gaps = { processes.iter() }
        .map(|process| {
            let role = process["role"].as_str().unwrap().to_owned();
            (role, names(&process["confinement"]))
        })
        .collect();
    assert_eq!(product.stop(), Some(0));
    let simulated = |what: &String| {
        ROWS.iter()
            .any(|row| row.missing.iter().any(|(w, _)| w == what))
    };
    let taken = own.values().flatten().find(|what| simulated(what));
    if let Some(what) = taken {
        skip(test, &format!("this kernel itself lacks {what}"));
        return None;
    }
    Some(own)
}

/// Everything that runs, as `topology --json` lists it.
fn living(topology: &Value) -> Vec<Value> {
    let kinds = topology["processes"].as_array().unwrap();
    let live = kinds
        .iter()
        .flat_map(|kind| kind["live"].as_array().unwrap());
    live.cloned().collect()
}

/// What a command says once this holds: it gives each process a moment to answer, which may be too short where much else
/// runs, and then tells what the others say.
fn told(scratch: &Scratch, words: &[&str], holds: impl Fn(&Output) -> bool) -> Output {
    let mut said = scratch.clawdbot(words);
    eventually(Duration::from_secs(60), || {
        let all = holds(&said);
        if !all {
            said = scratch.clawdbot(words);
        }
        all
    });
    said
}

fn check(row: &Row, own: &Gaps, scratch: &Scratch, product: &Product) {
    let ready = product.ready["processes"].as_array().unwrap();
    assert_eq!(ready.len(), 9, "{}", row.kernel);
    for process in ready {
        row.agrees("up", process, own);
    }
    let answer = scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert!(answer.stdout.contains("not a language model"), "{answer:?}");

    let well = |said: &Output| said.code == Some(0);
    let status = told(scratch, &["status", "--json"], well).ok().json();
    assert_eq!(status["processes"].as_array().unwrap().len(), 9);
    for process in status["processes"].as_array().unwrap() {
        row.agrees("status", process, own);
        assert_eq!(process["restarts"], 0, "{}: {process}", row.kernel);
    }
    let all_live = |said: &Output| living(&said.json()).len() == ready.len();
    let topology = told(scratch, &["topology", "--json"], all_live).ok().json();
    let living = living(&topology);
    assert_eq!(living.len(), 9, "{}", row.kernel);
    for process in &living {
        row.agrees("topology", process, own);
    }
    // For a person, too.
    for command in ["status", "topology"] {
        let anywhere = row.anywhere(own);
        let lines = |said: &Output| said.stdout.matches("missing: ").count();
        let all_told = |said: &Output| well(said) && lines(said) == anywhere.len();
        let text = told(scratch, &[command], all_told).ok().stdout;
        for what in &anywhere {
            let line = format!("missing: {what} (");
            assert_eq!(text.matches(&line).count(), 1, "{}: {text}", row.kernel);
        }
        assert_eq!(text.matches("missing: ").count(), anywhere.len(), "{text}");
    }
    doctor(row, own, scratch);
}

/// Each missing thing once, with what it means and what to do.
fn doctor(row: &Row, own: &Gaps, scratch: &Scratch) {
    let heard = |said: &Output| !said.stdout.contains("running.silent");
    let found = told(scratch, &["doctor", "--json"], heard).ok().json();
    let findings = found["findings"].as_array().unwrap();
    let about: Vec<&Value> = { findings.iter() }
        .filter(|finding| finding["id"].as_str().unwrap().starts_with("confinement."))
        .collect();
    let anywhere = row.anywhere(own).len();
    assert_eq!(about.len(), anywhere, "{}: {about:?}", row.kernel);
    for (what, who) in row.missing {
        let id = format!("confinement.{what}");
        let finding = about.iter().find(|finding| finding["id"] == id.as_str());
        let finding = finding.unwrap_or_else(|| panic!("{}: no {id}", row.kernel));
        let text = |key: &str| finding[key].as_str().unwrap();
        for role in ["gateway", "dialer", "broker"] {
            assert_eq!(text("title").contains(role), who.has(role), "{finding}");
        }
        assert!(
            !text("detail").is_empty() && !text("remedy").is_empty(),
            "{finding}"
        );
        let floor = row.floor().any(|floor| floor == *what);
        assert_eq!(
            text("severity"),
            if floor { "warn" } else { "info" },
            "{finding}"
        );
    }
}

#[test]
fn on_every_kernel_it_answers_and_says_what_is_missing() {
    let Some(own) = own_gaps("on_every_kernel_it_answers_and_says_what_is_missing") else {
        return;
    };
    for row in ROWS {
        let scratch = Scratch::new();
        let product = Start::new().under(row.kernel).up(&scratch);
        check(row, &own, &scratch, &product);
        assert_eq!(product.stop(), Some(0), "{}", row.kernel);
    }
}

#[test]
fn who_requires_full_confinement_gets_it_or_is_told_what_is_missing() {
    let test = "who_requires_full_confinement_gets_it_or_is_told_what_is_missing";
    if own_gaps(test).is_none() {
        return;
    }
    for row in ROWS {
        let scratch = Scratch::new();
        scratch.configure("{ sandbox: { require: \"full\" } }");
        let mut product = Start::new().under(row.kernel).begin(&scratch);
        let Some((level, _)) = row.weak else {
            product.ready = product.event("ready");
            let answer = scratch.clawdbot(&["chat", "--message", "hello"]).ok();
            assert!(answer.stdout.contains("not a language model"), "{answer:?}");
            assert_eq!(product.stop(), Some(0), "{}", row.kernel);
            continue;
        };
        let error = product.event("error");
        assert_eq!(error["code"], 78, "{}: {error}", row.kernel);
        let message = error["message"].as_str().unwrap();
        let said = format!("{message} {}", error["remedy"].as_str().unwrap());
        // Whoever is ready first ends it, and tells what it lacks itself.
        let everybody =
            |what: &&str| row.missing.contains(&(what, All)) || row.weak.unwrap().1 == Keys;
        for what in row.floor().filter(everybody) {
            assert!(
                said.contains(&format!("{what} is missing: ")),
                "{}: {said}",
                row.kernel
            );
        }
        for word in [
            "sandbox.require",
            level,
            "set sandbox.require to \"available\"",
        ] {
            assert!(said.contains(word), "{}: {said}", row.kernel);
        }
        assert_eq!(product.wait(), Some(78), "{}", row.kernel);
    }
}

#[test]
fn a_person_who_starts_it_reads_what_is_missing_and_what_that_means() {
    let scratch = Scratch::new();
    let mut command = scratch.program("clawdbot-simulate");
    let port = Start::new().port().to_string();
    command
        .args(["no-landlock", "--"])
        .arg(clawdbot_tests::binary("clawdbot"))
        .args(["up", "--port", &port])
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let shown: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.contains("Ctrl-C"))
        .collect();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let text = shown.join("\n");
    assert!(text.contains("gateway partial"), "{text}");
    let missing = "missing  landlock (8 processes): the kernel has no landlock";
    assert_eq!(text.matches(missing).count(), 1, "{text}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_proc_it_says_at_once_what_to_do() {
    let scratch = Scratch::new();
    let mut command = scratch.program("clawdbot-simulate");
    command
        .args(["no-proc", "--"])
        .arg(clawdbot_tests::binary("clawdbot"))
        .arg("up");
    let output = clawdbot_tests::finish(&mut command);
    if output.code == Some(126) {
        // No user namespace in which another `/proc` could be mounted.
        return skip(
            "without_proc_it_says_at_once_what_to_do",
            output.stderr.trim(),
        );
    }
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("mount /proc"), "{output:?}");
}
