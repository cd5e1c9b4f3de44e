//! A start takes up what is there, says what is amiss, and a disk that is full or gone stops nothing for good.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_start_after_a_death_at_any_byte_of_a_record_goes_on_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(
        folder.path(),
        Limits {
            records: 3,
            ..SMALL
        },
    );
    log.append(1, &fields(1)).unwrap();
    log.append(2, &fields(2)).unwrap();
    let current = folder.path().join(CURRENT);
    let (old, old_head) = (
        fs::read(&current).unwrap(),
        fs::read(folder.path().join(HEAD)).unwrap(),
    );
    // This one brings a checkpoint with it.
    log.append(3, &fields(3)).unwrap();
    drop(log);
    let new = fs::read(&current).unwrap();
    for at in old.len()..=new.len() {
        fs::write(&current, &new[..at]).unwrap();
        fs::write(folder.path().join(HEAD), &old_head).unwrap();
        let torn = checked(folder.path());
        assert_eq!(torn.problems, [], "cut at {at}");
        assert_eq!(torn.torn, new[at - 1] != b'\n');
        let mut log = open(folder.path(), SMALL);
        assert_eq!(log.trouble(), None);
        log.append(4, &fields(4)).unwrap();
        log.end(5);
        assert!(!intact(folder.path()).torn);
    }
}

#[test]
fn a_start_between_two_files_goes_on() {
    let folder = written(300, SMALL);
    let current = folder.path().join(CURRENT);
    let number = list(folder.path()).unwrap().len() as u64;
    // The full file was put away and the next not made; then made and still empty.
    for empty in [false, true] {
        let number = number + u64::from(empty);
        fs::rename(&current, folder.path().join(rotated(number))).unwrap();
        if empty {
            fs::write(&current, "").unwrap();
        }
        let mut log = open(folder.path(), SMALL);
        log.append(6000, &fields(0)).unwrap();
        assert_eq!(log.trouble(), None);
        log.end(6001);
        intact(folder.path());
    }
}

#[test]
fn what_a_start_finds_amiss_is_on_record_and_the_log_goes_on_behind_it() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 6] = [
        (|folder| cut(&folder.join(CURRENT), 10), "cut off"),
        (
            |folder| fs::remove_file(folder.join(CURRENT)).unwrap(),
            "missing",
        ),
        (
            |folder| fs::remove_file(folder.join(HEAD)).unwrap(),
            "begins anew",
        ),
        (
            |folder| fs::write(folder.join(HEAD), "x").unwrap(),
            "begins anew",
        ),
        (
            |folder| add(&folder.join(CURRENT), b"{\"n\":9}\n"),
            "put in",
        ),
        (
            |folder| {
                let path = folder.join(CURRENT);
                let mut bytes = fs::read(&path).unwrap();
                let at = bytes.len() - 20;
                bytes[at] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            "was not where",
        ),
    ];
    for (harm, words) in harms {
        let folder = written(50, SMALL);
        harm(folder.path());
        let mut log = open(folder.path(), SMALL);
        assert!(
            log.trouble().unwrap().contains(words),
            "{:?}",
            log.trouble()
        );
        for n in 0..30 {
            log.append(7000, &fields(n)).unwrap();
        }
        log.end(7001);
        drop(log);
        let all = checked(folder.path()).problems;
        assert!(
            all.iter().any(|p| p.what.contains(words)),
            "{words}: {all:?}"
        );
        let mut later = open(folder.path(), SMALL);
        assert!(later.trouble().unwrap().contains("--accept"), "told on");
        assert!(
            later
                .accept(7002, "\"request\":\"audit-accepted\"")
                .unwrap()
        );
        assert_eq!(later.trouble(), None);
        assert!(
            !later
                .accept(7003, "\"request\":\"audit-accepted\"")
                .unwrap()
        );
        drop(later);
        assert_eq!(open(folder.path(), SMALL).trouble(), None, "for good");
        let all = paths(folder.path());
        let all: Vec<_> = all.iter().flat_map(|path| lines(path)).collect();
        let accepted =
            { all.iter() }.filter(|line| String::from_utf8_lossy(line).contains("audit-accepted"));
        assert_eq!(accepted.count(), 1);
        let all = checked(folder.path()).problems;
        assert!(
            all.iter().any(|p| p.what.contains(words)),
            "it stays on record: {all:?}"
        );
        assert!(
            checked(folder.path()).problems.len() <= 3,
            "the rest is not blamed: {all:?}"
        );
    }
}

fn cut(path: &Path, bytes: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes)
        .unwrap();
}

fn add(path: &Path, bytes: &[u8]) {
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_nothing_is_written_by_halves_and_events_wait_for_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), SMALL);
    log.append(1, &fields(1)).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let file = log.exchange(Arc::new(full));
    assert!(log.append(2, &fields(2)).is_err());
    for n in 10..10 + MAX_OWED as u64 + 5 {
        log.note(n, fields(n));
    }
    assert!(log.trouble().is_some());
    log.exchange(file);
    // Half a line may have come through.
    add(&folder.path().join(CURRENT), b"{\"n\":3,\"ti");
    log.append(9000, &fields(9000)).unwrap();
    assert_eq!(log.trouble(), None);
    log.end(9001);
    intact(folder.path());
    let all: Vec<_> = paths(folder.path())
        .iter()
        .flat_map(|path| lines(path))
        .collect();
    let text = String::from_utf8(all.concat()).unwrap();
    let place = |what: &str| text.find(what);
    assert!(place("call-1\"") < place("call-10\""));
    assert!(place("call-10\"") < place("call-1033\""));
    assert!(place("call-1033\"") < place("\"audit-lost\",\"count\":5"));
    assert!(place("\"audit-lost\"") < place("call-9000\""));
    assert_eq!((place("call-2\""), place("call-1034\"")), (None, None));
}

#[test]
fn a_folder_that_is_gone_keeps_the_log_from_going_on_until_it_is_back() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("audit");
    fs::create_dir(&inner).unwrap();
    let mut log = open(&inner, Limits { file: 600, ..SMALL });
    log.append(1, &fields(1)).unwrap();
    fs::rename(&inner, outer.path().join("gone")).unwrap();
    for time in [2, 3, 4] {
        let _ = log.append(time, &fields(time));
    }
    assert!(log.append(5, &fields(5)).is_err());
    fs::rename(outer.path().join("gone"), &inner).unwrap();
    log.append(6, &fields(6)).unwrap();
    log.end(7);
    intact(&inner);
}

#[test]
fn a_link_or_a_pipe_in_the_place_of_a_file_is_not_opened() {
    for name in [CURRENT, HEAD, "key"] {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = other.path().join("target");
        fs::write(&target, "").unwrap();
        symlink(&target, folder.path().join(name)).unwrap();
        let opened = Log::open(folder.path(), SMALL, || Ok(FIRST), 1);
        assert!(opened.is_err(), "{name}");
        assert_eq!(fs::read(&target).unwrap(), b"");
        let path = folder.path().join(name);
        fs::remove_file(&path).unwrap();
        open(folder.path(), SMALL);
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(Log::open(folder.path(), SMALL, || Ok(FIRST), 1).is_err());
    }
}

#[test]
fn the_first_key_is_there_until_it_is_forgotten_and_the_log_goes_on_without_it() {
    let folder = written(20, SMALL);
    assert_eq!(first_key(folder.path()).unwrap(), Some(Key::new(FIRST)));
    forget_key(folder.path()).unwrap();
    assert_eq!(first_key(folder.path()).unwrap(), None);
    let mut log = open(folder.path(), SMALL);
    log.append(1, &fields(1)).unwrap();
    log.end(2);
    assert_eq!(first_key(folder.path()).unwrap(), None);
    intact(folder.path());
}

#[test]
fn what_another_process_did_is_remembered_with_the_next_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), SMALL);
    let cursor = Cursor {
        number: 17,
        at_ms: 5,
    };
    log.see(Origin::Dialer, cursor);
    log.append(1, &fields(1)).unwrap();
    drop(log);
    let log = open(folder.path(), SMALL);
    assert_eq!(log.seen(Origin::Dialer), cursor);
    assert_eq!(log.seen(Origin::Broker), Cursor::default());
}

#[test]
fn time_brings_a_checkpoint_when_there_is_news_whichever_way_the_clock_jumps() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), Limits::DEFAULT);
    let count = || checked(folder.path()).checkpoints;
    log.tick(100_000_000);
    assert_eq!(count(), 0, "nothing is new");
    log.append(1_000, &fields(1)).unwrap();
    log.tick(1_500);
    assert_eq!(count(), 0, "not yet");
    log.tick(70_000);
    assert_eq!(count(), 1);
    log.append(70_001, &fields(2)).unwrap();
    log.tick(5);
    assert_eq!(count(), 2, "the clock was set back");
    log.tick(200_000);
    assert_eq!(count(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_file_waits_for_the_disk_until_it_is_there_together_with_its_new_name() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { file: 600, ..SMALL };
    let mut log = open(folder.path(), limits);
    log.append(1, &fields(1)).unwrap();
    assert!(log.full().is_none(), "nothing is full");
    // What is written there is gone, and the system says so when asked to make it safe.
    let nowhere = File::options().write(true).open("/dev/null").unwrap();
    let real = log.exchange(Arc::new(nowhere));
    for n in 2..10 {
        log.append(n, &fields(n)).unwrap();
    }
    let sent = log.full().unwrap();
    assert!(log.full().is_none(), "one is enough");
    assert!(sent.sync().is_err());
    assert!(
        log.unsynced().sync().is_err(),
        "whoever waits for it is not told otherwise"
    );
    // Positive control.
    log.full[0].file = real;
    log.unsynced().sync().unwrap();
    assert!(log.unsynced().full.is_empty());
    for n in 10..15 {
        log.append(n, &fields(n)).unwrap();
    }
    let sent = log.full().unwrap();
    let is_folder = |full: &Full| full.file.metadata().unwrap().is_dir();
    assert!(sent.full.iter().any(is_folder));
    sent.sync().unwrap();
    assert!(log.unsynced().full.is_empty());
}

#[test]
fn a_long_end_without_an_end_is_none_of_ours_and_is_not_cut_off_in_silence() {
    let folder = written(20, SMALL);
    let kept = vec![b'x'; 2 * MAX_LINE];
    add(&folder.path().join(CURRENT), &kept);
    let log = open(folder.path(), SMALL);
    assert!(log.trouble().unwrap().contains("put in"));
    let all = paths(folder.path());
    assert!(
        all.iter()
            .any(|path| fs::read(path).unwrap().ends_with(&kept))
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_when_a_file_is_begun_leaves_no_file_without_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { file: 600, ..SMALL };
    let mut log = open(folder.path(), limits);
    while log.size() + fields(1).len() as u64 <= limits.file {
        log.append(1, &fields(1)).unwrap();
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    let head = std::mem::replace(&mut log.head_file, full);
    for n in 3..6 {
        assert!(log.append(n, &fields(n)).is_err());
    }
    assert_eq!(paths(folder.path()).len(), 2, "the next file was begun");
    log.tick(70_000);
    assert!(log.failing());
    log.head_file = head;
    log.tick(140_000);
    assert!(!log.failing());
    log.append(150_000, &fields(7)).unwrap();
    log.end(150_001);
    intact(folder.path());
}
