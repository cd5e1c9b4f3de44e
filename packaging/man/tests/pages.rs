//! The pages as readers and checkers of manual pages see them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // A failed expectation ends the test; a skip is told.

use std::path::Path;
use std::process::{Command, Stdio};

use clawdbot_man::files;

const DATE: &str = "2026-01-31";

/// Whether the program is installed; without it the test says that it is skipped.
fn has(program: &str, test: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|place| place.join(program).exists()));
    if !found {
        println!("SKIPPED {test}: {program} is not installed");
    }
    found
}

/// What a command says about a page, given as a file.
fn ask(words: &[&str], text: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page");
    std::fs::write(&path, text).unwrap();
    let output = Command::new(words[0])
        .args(&words[1..])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn pages() -> Vec<clawdbot_man::File> {
    let mut pages = files(DATE);
    pages.retain(|file| file.path.starts_with("man"));
    assert!(pages.len() > 30, "{}", pages.len());
    pages
}

#[test]
fn groff_renders_every_page_without_a_warning() {
    if !has("groff", "groff_renders_every_page_without_a_warning") {
        return;
    }
    for page in pages() {
        let (out, err) = ask(&["groff", "-man", "-Tutf8", "-ww", "-P-cbou"], &page.text);
        assert_eq!(err, "", "{}", page.path);
        assert!(out.contains("NAME"), "{}", page.path);
    }
    let broken = ask(
        &["groff", "-man", "-Tutf8", "-ww"],
        ".TH X 1\n.SH\n\\*(xx\n",
    );
    assert_ne!(broken.1, "");
}

#[test]
fn mandoc_finds_nothing_to_warn_of() {
    if !has("mandoc", "mandoc_finds_nothing_to_warn_of") {
        return;
    }
    for page in pages() {
        // Style is what mandoc would write otherwise; a reference to a page that is not installed yet is style too.
        let (out, err) = ask(&["mandoc", "-T", "lint", "-W", "warning"], &page.text);
        assert_eq!((out.as_str(), err.as_str()), ("", ""), "{}", page.path);
    }
    assert_ne!(
        ask(&["mandoc", "-T", "lint", "-W", "warning"], ".SH X\n").0,
        ""
    );
}

#[test]
fn every_page_that_a_page_names_is_there() {
    let pages = pages();
    let names: Vec<String> = pages
        .iter()
        .filter_map(|page| {
            let file = Path::new(&page.path);
            let section = file.extension()?.to_str()?;
            Some(format!("{}({section})", file.file_stem()?.to_str()?))
        })
        .collect();
    let mut seen = 0;
    for page in &pages {
        let text = page
            .text
            .replace("\\-", "-")
            .replace("\\fB", "")
            .replace("\\fR", "");
        let also = text.split(".SH \"SEE ALSO\"").nth(1).unwrap_or_default();
        for word in also.split(',').map(str::trim) {
            // One program, one page; the package links the second name to it.
            let known = word == "clawdbotctl(1)" || names.iter().any(|name| name == word);
            assert!(known, "{} names {word}", page.path);
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_page_is_the_same_whenever_it_is_written() {
    assert_eq!(files(DATE), files(DATE));
    let pages = pages();
    let first = |text: &str| text.lines().next().map(str::to_owned);
    for page in &pages {
        let head = first(&page.text).unwrap();
        assert!(head.starts_with(".TH ") && head.contains(DATE), "{head}");
    }
}

#[test]
fn completions_know_the_commands_and_what_is_chosen_from() {
    let files = files(DATE);
    for name in ["clawdbot", "clawdbotctl"] {
        for path in [
            format!("bash/{name}"),
            format!("zsh/_{name}"),
            format!("fish/{name}.fish"),
        ] {
            let file = files.iter().find(|file| file.path == path).unwrap();
            for word in ["doctor", "completions", "--state-dir"] {
                let word = match path.starts_with("fish") {
                    true => word.trim_start_matches('-'),
                    false => word,
                };
                assert!(file.text.contains(word), "{path}: {word}");
            }
        }
    }
    for (shell, flag) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        if !has(
            shell,
            "completions_know_the_commands_and_what_is_chosen_from",
        ) {
            continue;
        }
        for file in files
            .iter()
            .filter(|file| file.path.starts_with(&format!("{shell}/")))
        {
            let (_, err) = ask(&[shell, flag], &file.text);
            assert_eq!(err, "", "{}", file.path);
        }
    }
}
