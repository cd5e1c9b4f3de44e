//! What is dropped and when: by the time that the log was kept, never by a clock that jumps, and within a bound.

use super::*;

/// A log that is looked at once a day.
const DAILY: Limits = Limits {
    step_ms: DAY_MS,
    ..Limits::DEFAULT
};

/// Bytes of all files.
fn size(folder: &Path) -> u64 {
    let sizes = paths(folder).into_iter().map(fs::metadata);
    sizes.map(|found| found.unwrap().len()).sum()
}

/// What the records of the oldest file that is there say of their time.
fn oldest(folder: &Path) -> u64 {
    let first: serde_json::Value = serde_json::from_slice(&lines(&paths(folder)[0])[0]).unwrap();
    first["time"].as_u64().unwrap()
}

#[test]
fn a_file_whose_records_are_a_year_old_is_dropped_and_one_that_is_written_slowly_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), DAILY);
    for day in 0..800 {
        log.append(day * DAY_MS, &fields(day)).unwrap();
    }
    log.end(800 * DAY_MS);
    let verdict = intact(folder.path());
    let files = paths(folder.path()).len();
    assert!(files <= DAILY.files && files > 3, "{files}");
    assert!(oldest(folder.path()) > 400 * DAY_MS && verdict.range.0 > 1);
}

#[test]
fn a_clock_that_jumps_drops_nothing_whichever_way_and_however_the_jump_comes() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        files: 3,
        file: 6000,
        ..Limits::DEFAULT
    };
    let mut log = open(folder.path(), limits);
    let mut number = 0;
    let mut write = |log: &mut Log, time: u64, records: u64| {
        for _ in 0..records {
            number += 1;
            log.append(time + number, &fields(number)).unwrap();
        }
    };
    write(&mut log, 1000, 100);
    let years = |n: u64| n * 366 * DAY_MS;
    for time in [years(1), years(9), 1000, years(2), 0] {
        write(&mut log, time, 40);
        log.tick(time + 70_000);
    }
    // A start may find another time than the last one told.
    for time in [years(20), 500, years(3)] {
        drop(log);
        log = Log::open(folder.path(), limits, || Ok(FIRST), time).unwrap();
        write(&mut log, time, 40);
    }
    log.end(years(3) + 1000);
    assert_eq!(intact(folder.path()).range.0, 1, "all of it is there");
    assert!(paths(folder.path()).len() > 10);
    // Positive control: time that really passes.
    let mut time = years(3) + 1000;
    for _ in 0..31 * 24 * 60 {
        time += 60_000;
        log.tick(time);
    }
    write(&mut log, time, 60);
    log.end(time + 10_000);
    assert!(intact(folder.path()).range.0 > 1);
    assert!(paths(folder.path()).len() < 10);
}

#[test]
fn nothing_younger_than_a_month_is_dropped_until_the_disk_has_its_share_and_then_the_oldest_only() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        files: 3,
        crowded: 6,
        most: 9,
        ..SMALL
    };
    let mut log = open(folder.path(), limits);
    let mut crowded = None;
    for n in 0..400 {
        log.append(1000 + n, &fields(n)).unwrap();
        let files = paths(folder.path()).len();
        assert!(files <= limits.most);
        assert_eq!(log.has_room(), files < limits.crowded, "{files}");
        crowded = crowded.or((!log.has_room()).then_some(n));
    }
    assert!(crowded.is_some());
    log.end(2000);
    assert!(intact(folder.path()).range.0 > 1);
    assert!(size(folder.path()) < limits.most as u64 * (limits.file + 1000));
    drop(log);
    // When a month has passed there is room again, though no file became full.
    let mut log = open(folder.path(), limits);
    assert!(!log.has_room());
    let mut time = 3000;
    log.append(time, &fields(1)).unwrap();
    for day in 0..31 {
        assert!(!log.has_room() || day == 30, "{day}");
        for _ in 0..24 * 60 {
            time += 60_000;
            log.tick(time);
        }
        log.append(time, &fields(2)).unwrap();
        log.tick(time + 60_000);
    }
    assert!(log.has_room());
    log.end(time);
    intact(folder.path());
}
