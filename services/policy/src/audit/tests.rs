//! The log as a whole: what is written verifies, and whatever is done to it afterwards is named.

mod ages;
mod starts;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use clawdbot_audit::{HEAD, Key, Problem, Proof, Verdict, Witness, verify};
use tempfile::TempDir;

use super::*;

const FIRST: [u8; 32] = [7; 32];
/// Small, so that some records are several files and checkpoints.
const SMALL: Limits = Limits {
    file: 6000,
    files: 100,
    crowded: 100,
    most: 100,
    records: 16,
    ..Limits::DEFAULT
};

fn open(folder: &Path, limits: Limits) -> Log {
    Log::open(folder, limits, || Ok(FIRST), 1000).unwrap()
}

fn fields(n: u64) -> String {
    format!("\"request\":\"tool\",\"decision\":\"allow\",\"role\":\"executor\",\"id\":\"call-{n}\"")
}

/// A log of so many records that was ended in order.
fn written(records: u64, limits: Limits) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), limits);
    for n in 1..=records {
        log.append(1000 + n, &fields(n)).unwrap();
    }
    log.end(5000);
    folder
}

fn keyed() -> Proof {
    Proof {
        key: Some(Key::new(FIRST)),
        ..Proof::default()
    }
}

fn checked(folder: &Path) -> Verdict {
    verify(folder, &Proof::default()).unwrap()
}

#[track_caller]
fn intact(folder: &Path) -> Verdict {
    let verdict = verify(folder, &keyed()).unwrap();
    assert_eq!(verdict.problems, []);
    verdict
}

#[track_caller]
fn problem(folder: &Path) -> Problem {
    let mut problems = checked(folder).problems;
    assert!(!problems.is_empty(), "nothing was found");
    problems.remove(0)
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let files = list(folder).unwrap();
    files.into_iter().map(|file| file.path).collect()
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    bytes
        .split_inclusive(|b| *b == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

/// Puts `bytes` in the place of a file, has a look, and puts the file back.
fn with<T>(path: &Path, bytes: &[u8], look: impl FnOnce() -> T) -> T {
    let before = fs::read(path).unwrap();
    fs::write(path, bytes).unwrap();
    let seen = look();
    fs::write(path, before).unwrap();
    seen
}

#[test]
fn what_was_written_is_intact_over_files_checkpoints_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    for start in 0..5 {
        let mut log = open(folder.path(), SMALL);
        for n in 0..60 {
            log.append(start * 100 + n, &fields(n)).unwrap();
        }
        assert_eq!(log.trouble(), None);
        // Every other time the process is killed.
        if start % 2 == 0 {
            log.end(start * 100 + 99);
        }
    }
    let verdict = intact(folder.path());
    assert!(verdict.records > 300 && verdict.range == (1, verdict.records));
    assert!(verdict.checkpoints > 15 && verdict.seals == verdict.checkpoints);
    assert!(paths(folder.path()).len() > 5);
    for path in paths(folder.path()) {
        assert!(fs::metadata(&path).unwrap().len() <= SMALL.file + 1000);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    for name in [HEAD, "key"] {
        let mode = fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600);
    }
}

#[test]
fn a_flip_of_any_byte_is_named_with_its_line() {
    let limits = Limits {
        file: 1500,
        records: 4,
        ..SMALL
    };
    let folder = written(10, limits);
    intact(folder.path());
    for path in paths(folder.path()) {
        let bytes = fs::read(&path).unwrap();
        let mut line = 1;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let found = with(&path, &changed, || problem(folder.path()));
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(
                (found.file.as_str(), found.line),
                (name, line),
                "byte {at}: {found:?}"
            );
            line += u64::from(bytes[at] == b'\n');
        }
    }
    intact(folder.path());
}

#[test]
fn a_cut_at_any_byte_is_named() {
    let limits = Limits {
        file: 1500,
        records: 4,
        ..SMALL
    };
    let folder = written(10, limits);
    for path in paths(folder.path()) {
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            with(&path, &bytes[..at], || problem(folder.path()));
        }
    }
    intact(folder.path());
}

#[test]
fn of_three_hundred_records_each_that_is_changed_removed_moved_repeated_or_cut_is_named() {
    let folder = written(300, SMALL);
    intact(folder.path());
    let named = |path: &Path, lines: &[Vec<u8>], at: u64| {
        let found = with(path, &lines.concat(), || problem(folder.path()));
        let name = path.file_name().unwrap().to_str().unwrap();
        (found.file == name && found.line == at, found)
    };
    for path in paths(folder.path()) {
        let all = lines(&path);
        for at in 0..all.len() {
            let place = at as u64 + 1;
            let mut changed = all.clone();
            let middle = changed[at].len() / 2;
            changed[at][middle] ^= 1;
            let (right, found) = named(&path, &changed, place);
            assert!(right, "changed {place}: {found:?}");

            let mut removed = all.clone();
            removed.remove(at);
            let found = with(&path, &removed.concat(), || problem(folder.path()));
            assert!(found.what.contains("missing"), "removed {place}: {found:?}");

            if at + 1 < all.len() {
                let mut moved = all.clone();
                moved.swap(at, at + 1);
                let (right, found) = named(&path, &moved, place);
                assert!(right, "moved {place}: {found:?}");
            }

            let mut repeated = all.clone();
            repeated.insert(at, all[at].clone());
            let (right, found) = named(&path, &repeated, place + 1);
            assert!(right, "repeated {place}: {found:?}");

            with(&path, &all[..at].concat(), || problem(folder.path()));
        }
    }
    intact(folder.path());
}

#[test]
fn a_file_that_is_removed_or_changes_its_place_is_named() {
    let folder = written(200, SMALL);
    let all = paths(folder.path());
    assert!(all.len() > 4);
    for path in &all {
        let aside = folder.path().join("aside");
        fs::rename(path, &aside).unwrap();
        let found = problem(folder.path());
        fs::rename(&aside, path).unwrap();
        assert!(
            found.what.contains("missing") || found.what.contains("begins with"),
            "{found:?}"
        );
    }
    let (one, two) = (fs::read(&all[0]).unwrap(), fs::read(&all[1]).unwrap());
    fs::write(&all[0], &two).unwrap();
    fs::write(&all[1], &one).unwrap();
    problem(folder.path());
    fs::write(&all[0], &one).unwrap();
    fs::write(&all[1], &two).unwrap();
    intact(folder.path());
    fs::remove_file(folder.path().join(HEAD)).unwrap();
    assert_eq!(problem(folder.path()).file, HEAD);
}

/// What somebody can do who may write the folder and knows how: everything from `from` on made anew, head included.
fn forged(folder: &Path, from: u64) {
    let text = fs::read_to_string(folder.join(HEAD)).unwrap();
    let mut head = Head::parse(&text).unwrap();
    let mut chain = None;
    for path in paths(folder) {
        let mut made = Vec::new();
        for line in lines(&path) {
            let old = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
            let value: serde_json::Value = serde_json::from_slice(old.text).unwrap();
            let before = chain.unwrap_or_default();
            if old.n < from {
                chain = Some(old.chain());
                made.extend_from_slice(&line);
                continue;
            }
            let body = std::str::from_utf8(old.body).unwrap();
            let (_, fields) = body
                .split_once(&format!("\"time\":{},", value["time"]))
                .unwrap();
            let mut fields = fields.replace("call-", "fall-");
            if let Some(after) = value["after"].as_str() {
                fields = fields.replace(after, &to_hex(&before.hash));
            }
            let (line, next) = before.next(value["time"].as_u64().unwrap(), &fields);
            made.extend_from_slice(line.as_bytes());
            chain = Some(next);
        }
        fs::write(path, made).unwrap();
    }
    head.chain = chain.unwrap();
    fs::write(folder.join(HEAD), head.text().as_bytes()).unwrap();
}

/// The checkpoints of a log, as the processes' log has them.
fn witnesses(folder: &Path) -> Vec<Witness> {
    let all = paths(folder).into_iter().flat_map(|path| lines(&path));
    all.filter_map(|line| {
        let line = Line::parse(line.strip_suffix(b"\n")?)?;
        line.own()?.get("checkpoint")?;
        Some(Witness {
            n: line.n,
            hash: line.hash,
        })
    })
    .collect()
}

#[test]
fn a_past_that_is_made_anew_is_told_by_the_key_and_by_the_copies_and_by_nothing_else() {
    let folder = written(100, SMALL);
    let copies = Proof {
        witnesses: witnesses(folder.path()),
        ..Proof::default()
    };
    assert!(copies.witnesses.len() > 5);
    let verdict = verify(folder.path(), &copies).unwrap();
    assert_eq!(
        (verdict.problems.len(), verdict.witnesses),
        (0, copies.witnesses.len() as u64)
    );
    forged(folder.path(), 40);
    assert_eq!(
        checked(folder.path()).problems,
        [],
        "nobody can tell from the log alone"
    );
    let by_key = verify(folder.path(), &keyed()).unwrap().problems;
    assert!(by_key[0].what.contains("not genuine"), "{by_key:?}");
    let by_copy = verify(folder.path(), &copies).unwrap().problems;
    assert!(by_copy[0].what.contains("is not the one"), "{by_copy:?}");
    // New copies, told by whoever forged it, take nothing back.
    let mut both = copies.clone();
    both.witnesses.extend(witnesses(folder.path()));
    assert_eq!(verify(folder.path(), &both).unwrap().problems, by_copy);
}

/// The head is written by hand to fit; its checkpoint and key cannot be made older without the first key.
#[test]
fn an_end_that_is_cut_back_to_a_checkpoint_is_told_by_the_head() {
    let folder = written(
        100,
        Limits {
            file: 1 << 20,
            ..SMALL
        },
    );
    let path = paths(folder.path()).remove(0);
    let all = lines(&path);
    let is_checkpoint = |line: &Vec<u8>| {
        let line = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
        line.own()
            .is_some_and(|own| own.get("checkpoint").is_some())
    };
    let second = { all.iter().enumerate() }
        .filter(|(_, line)| is_checkpoint(line))
        .nth(1);
    for end in [0, second.unwrap().0] {
        let kept = all[..=end].concat();
        let last = Line::parse(all[end].strip_suffix(b"\n").unwrap()).unwrap();
        let mut head = Head::parse(&fs::read_to_string(folder.path().join(HEAD)).unwrap()).unwrap();
        (head.chain, head.offset) = (last.chain(), kept.len() as u64);
        let found = with(&path, &kept, || {
            with(&folder.path().join(HEAD), head.text().as_bytes(), || {
                verify(folder.path(), &keyed()).unwrap().problems
            })
        });
        let [only] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(only.what.contains("checkpoints"), "{only:?}");
    }
    intact(folder.path());
}

#[test]
fn an_end_that_is_cut_together_with_the_head_is_told_by_the_copies() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), SMALL);
    let mut before = BTreeMap::new();
    for n in 1..=100 {
        log.append(n, &fields(n)).unwrap();
        if n == 50 {
            for path in paths(folder.path())
                .into_iter()
                .chain([folder.path().join(HEAD)])
            {
                before.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    log.end(200);
    let copies = Proof {
        witnesses: witnesses(folder.path()),
        ..Proof::default()
    };
    for path in paths(folder.path()) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in before {
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(checked(folder.path()).problems, []);
    let found = verify(folder.path(), &copies).unwrap().problems;
    assert!(found[0].what.contains("cut off"), "{found:?}");
}

#[test]
fn another_key_is_not_taken_for_the_first() {
    let folder = written(40, SMALL);
    let other = Proof {
        key: Some(Key::new([8; 32])),
        ..Proof::default()
    };
    assert!(!verify(folder.path(), &other).unwrap().problems.is_empty());
    // The key that lies beside the log afterwards opens nothing that was sealed before.
    let text = fs::read_to_string(folder.path().join(HEAD)).unwrap();
    let head = Head::parse(&text).unwrap();
    assert_eq!(head.key, Key::new(FIRST).after(head.checkpoint - 1));
    for n in 0..head.checkpoint - 1 {
        assert!(!text.contains(&*Key::new(FIRST).after(n).text()));
    }
}

#[test]
fn what_is_dropped_is_on_record_and_the_rest_is_intact() {
    let limits = Limits {
        files: 3,
        keep_ms: 0,
        ..SMALL
    };
    let folder = written(300, limits);
    let verdict = intact(folder.path());
    assert!(verdict.range.0 > 100 && verdict.range.1 > 300);
    let left = paths(folder.path());
    assert_eq!(left.len(), 3);
    // Who removes one more leaves a hole.
    fs::remove_file(&left[0]).unwrap();
    let found = problem(folder.path());
    assert!(found.what.contains("no record says"), "{found:?}");
}

/// A log made anew whose checkpoints claim numbers to which nobody can follow the key.
#[test]
fn numbers_that_nobody_can_follow_are_named_at_once_and_hide_nothing() {
    let folder = written(100, SMALL);
    let path = folder.path().join(HEAD);
    let text = fs::read_to_string(&path).unwrap();
    let mut head = Head::parse(&text).unwrap();
    (head.checkpoint, head.chain.n) = (u64::MAX, u64::MAX);
    let found = with(&path, head.text().as_bytes(), || {
        verify(folder.path(), &keyed()).unwrap().problems
    });
    assert!(found[0].what.contains("does not follow"), "{found:?}");
    // The first files are gone, so that no checkpoint says which number comes next.
    let all = paths(folder.path());
    let first = all.last().unwrap();
    for path in &all[..all.len() - 1] {
        fs::remove_file(path).unwrap();
    }
    let text = String::from_utf8(lines(first).concat()).unwrap();
    let forged = text.replace("\"checkpoint\":", "\"checkpoint\":99999999999");
    assert_ne!(text, forged);
    let found = with(first, forged.as_bytes(), || {
        verify(folder.path(), &keyed()).unwrap().problems
    });
    assert!(
        found.iter().any(|p| p.what.contains("no log has")),
        "{found:?}"
    );
}
