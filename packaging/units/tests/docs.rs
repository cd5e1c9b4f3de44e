//! `systemd/` and `docs/hardening.md` are what the tables say. `cargo xtask docs` writes them: it sets
//! `CLAWDBOT_WRITE_DOCS` to the folder of the pages.
#![allow(clippy::unwrap_used, clippy::panic)] // A failed expectation ends the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clawdbot_units::{files, page};

const GENERATED: &str =
    "<!-- Written by `cargo xtask docs` from the code; edits here get lost. -->\n\n";

/// Where the sources are now: tests may have been moved to where everybody can run them.
fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&own).join("../..")
}

#[test]
fn the_generated_units_are_current() {
    let written = std::env::var_os("CLAWDBOT_WRITE_DOCS");
    let root = match &written {
        Some(docs) => Path::new(docs).join(".."),
        None => root(),
    };
    let page_path = root.join("docs/hardening.md");
    let present = fs::read_to_string(&page_path).unwrap_or_default();
    let mut wanted = vec![(page_path, format!("{GENERATED}{}", page(&present)))];
    wanted.extend(
        files()
            .into_iter()
            .map(|file| (root.join("systemd").join(file.path), file.text)),
    );
    let known: BTreeSet<&PathBuf> = wanted.iter().map(|(path, _)| path).collect();
    let mut there = Vec::new();
    list(&root.join("systemd"), &mut there);
    let mut stale: Vec<PathBuf> = there
        .into_iter()
        .filter(|path| !known.contains(path))
        .collect();
    if written.is_some() {
        for path in stale.drain(..) {
            fs::remove_file(path).unwrap();
        }
    }
    for (path, text) in &wanted {
        if fs::read_to_string(path).is_ok_and(|present| present == *text) {
            continue;
        }
        if written.is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        } else {
            stale.push(path.clone());
        }
    }
    assert!(
        stale.is_empty(),
        "out of date: {stale:?}; write them with: cargo xtask docs"
    );
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => list(&path, found),
            false => found.push(path),
        }
    }
}
