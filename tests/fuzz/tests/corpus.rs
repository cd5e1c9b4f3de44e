//! Every target keeps its promises for the bytes in its folder: real ones from the wire, and those that once broke one.

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use clawdbot_fuzz::{TARGETS, Target};

/// Files of one target, and bytes of all of them: seeds are read by people.
const FILES: usize = 40;
const BYTES: usize = 100 << 10;

fn corpus() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    PathBuf::from(package).join("corpus")
}

fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(|entry| {
        let path = entry.unwrap().path();
        (path.display().to_string(), fs::read(&path).unwrap())
    });
    files.collect()
}

#[test]
fn no_bytes_that_are_on_record_break_a_promise() {
    let all = TARGETS.iter().flat_map(|target| {
        let seeds = seeds(target).into_iter();
        seeds.map(move |(name, bytes)| (name, catch_unwind(|| (target.run)(&bytes))))
    });
    let broken: Vec<String> = all
        .filter(|(_, held)| held.is_err())
        .map(|(name, _)| name)
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn every_target_has_bytes_that_its_parser_takes_and_bytes_that_it_refuses() {
    for target in TARGETS {
        let taken = seeds(target)
            .iter()
            .filter(|(_, bytes)| (target.run)(bytes))
            .count();
        assert!(taken > 0, "{}: no seed is taken", target.name);
        assert!(!(target.run)(b""), "{}: nothing is taken", target.name);
    }
}

#[test]
fn corpora_are_small_and_belong_to_a_target() {
    for target in TARGETS {
        let seeds = seeds(target);
        let size: usize = seeds.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(
            seeds.len() <= FILES && size <= BYTES,
            "{}: {} files, {size} bytes",
            target.name,
            seeds.len()
        );
    }
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            TARGETS.iter().any(|target| target.name == name),
            "{}",
            name.display()
        );
    }
}
