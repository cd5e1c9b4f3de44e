//! The libraries of others that the programs consist of, and their licenses' texts, which have to go with every copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::tool;
use crate::cargo;

/// Beginnings of the names of files that have such a text.
const TEXTS: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// What every program is linked with, and no package; its texts are those of many others.
const STANDARD: &str =
    "Rust's standard library: MIT OR Apache-2.0; https://github.com/rust-lang/rust\n";

/// One library.
struct Library {
    /// With its version.
    name: String,
    license: String,
    repository: String,
    texts: Vec<String>,
}

/// What goes into the package, as text.
///
/// # Errors
/// When cargo does not answer, or a library comes without its license.
pub fn text() -> Result<String, String> {
    let mut tree = cargo::command();
    tree.args(["tree", "--locked", "--edges=normal,no-proc-macro"])
        .args(["--prefix=none", "--format={p}", "--target"])
        .arg(cargo::host()?);
    for package in cargo::product()? {
        tree.args(["--package", &package]);
    }
    let tree = tool::text(&mut tree)?;
    let answer = tool::run(cargo::command().args(["metadata", "--locked", "--format-version=1"]))?;
    let answer: Value =
        serde_json::from_slice(&answer).map_err(|error| format!("cargo metadata: {error}"))?;
    let linked = linked(&tree);
    let packages = answer["packages"].as_array().into_iter().flatten();
    // Our own have no source.
    let packages = packages.filter(|package| !package["source"].is_null());
    let libraries: Result<Vec<Library>, String> = packages
        .map(library)
        .filter(|library| {
            { library.as_ref() }.map_or(true, |library| linked.contains(library.name.as_str()))
        })
        .collect();
    write(&libraries?)
}

/// Name and version of all packages that end up in a program, of the lines of `cargo tree`.
fn linked(tree: &str) -> BTreeSet<String> {
    let lines = tree.lines().map(str::split_whitespace);
    lines
        .filter_map(|mut words| {
            let name = words.next()?;
            Some(format!("{name} {}", words.next()?.strip_prefix('v')?))
        })
        .collect()
}

fn library(package: &Value) -> Result<Library, String> {
    let field = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
    let name = format!("{} {}", field("name"), field("version"));
    let license = match (field("license"), field("license_file")) {
        (license, file) if license.is_empty() => file,
        (license, _) => license,
    };
    let manifest = field("manifest_path");
    let folder = Path::new(&manifest)
        .parent()
        .ok_or("a package has no folder")?;
    Ok(Library {
        name,
        license,
        repository: field("repository"),
        texts: texts_in(folder)?,
    })
}

fn write(libraries: &[Library]) -> Result<String, String> {
    let mut list =
        String::from("The programs of this package are linked with these libraries:\n\n");
    list.push_str(STANDARD);
    let mut texts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for library in libraries {
        let Library {
            name,
            license,
            repository,
            ..
        } = library;
        let _ = writeln!(list, "{name}: {license}; {repository}");
        // Some of several in one repository come without the text that is there for all.
        let beside = libraries
            .iter()
            .filter(|other| other.repository == *repository);
        let own = std::iter::once(library).chain(beside);
        let found = { own }.find(|library| !library.texts.is_empty());
        let found = found.ok_or_else(|| format!("{name} comes without its license"))?;
        for text in &found.texts {
            texts.entry(text).or_default().push(name);
        }
    }
    for (text, names) in texts {
        let rule = "-".repeat(80);
        let _ = write!(
            list,
            "\n{rule}\n{}\n{rule}\n\n{}\n",
            names.join(", "),
            text.trim_end()
        );
    }
    Ok(list)
}

fn texts_in(folder: &Path) -> Result<Vec<String>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if TEXTS.iter().any(|beginning| name.starts_with(beginning)) && entry.path().is_file() {
            let text = fs::read(entry.path()).map_err(wrong)?;
            texts.push(String::from_utf8_lossy(&text).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_is_a_name_and_a_version_and_what_was_shown_before_comes_once() {
        let tree = "clawdbot-cli v0.1.0 (/w/services/cli)\nserde v1.0.229\nserde v1.0.229 (*)\n\n";
        let linked = linked(tree);
        assert_eq!(
            Vec::from_iter(linked),
            ["clawdbot-cli 0.1.0", "serde 1.0.229"]
        );
    }

    fn one(name: &str, repository: &str, texts: &[&str]) -> Library {
        Library {
            name: name.into(),
            license: "MIT".into(),
            repository: repository.into(),
            texts: texts.iter().map(|text| (*text).into()).collect(),
        }
    }

    #[test]
    fn each_library_has_its_text_or_that_of_its_repository_and_none_is_an_error() {
        let there = [one("a 1", "r", &["free"]), one("b 1", "r", &[])];
        let text = write(&there).unwrap();
        assert!(
            text.contains("b 1: MIT; r\n") && text.contains("\na 1, b 1\n"),
            "{text}"
        );
        assert_eq!(text.matches("free").count(), 1);
        let missing = [one("a 1", "r", &["free"]), one("b 1", "s", &[])];
        assert_eq!(
            write(&missing).unwrap_err(),
            "b 1 comes without its license"
        );
    }

    #[test]
    fn a_text_is_found_by_the_name_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["LICENSE-MIT", "license.txt", "README.md", "COPYING"] {
            fs::write(folder.path().join(name), format!("{name}\r\n")).unwrap();
        }
        let mut texts = texts_in(folder.path()).unwrap();
        texts.sort();
        assert_eq!(texts, ["COPYING\n", "LICENSE-MIT\n", "license.txt\n"]);
    }
}
