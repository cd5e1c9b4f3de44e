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

/// What goes into the package, as text.
///
/// # Errors
/// When cargo does not answer or a library has no license.
pub fn text() -> Result<String, String> {
    let mut command = cargo::command();
    command.args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
    ]);
    let answer = tool::run(command.arg(cargo::host()?))?;
    let answer: Value =
        serde_json::from_slice(&answer).map_err(|error| format!("cargo metadata: {error}"))?;
    let used = linked(&answer);
    let packages = answer["packages"].as_array().into_iter().flatten();
    let mut list =
        String::from("The programs of this package are linked with these libraries:\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in
        packages.filter(|package| package["id"].as_str().is_some_and(|id| used.contains(id)))
    {
        // Our own have no source.
        if package["source"].is_null() {
            continue;
        }
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let name = format!("{} {}", field("name"), field("version"));
        let license = match (field("license"), field("license_file")) {
            ("", "") => return Err(format!("{name} has no license")),
            ("", file) => file,
            (license, _) => license,
        };
        let _ = writeln!(list, "{name}: {license}; {}", field("repository"));
        if let Some(folder) = Path::new(field("manifest_path")).parent() {
            for text in texts_in(folder)? {
                texts.entry(text).or_default().push(name.clone());
            }
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

/// The ids of all packages that end up in a program: what the product depends on, and so on, but for what only builds
/// or tests it.
fn linked(answer: &Value) -> BTreeSet<&str> {
    let nodes = answer["resolve"]["nodes"].as_array().into_iter().flatten();
    let nodes: BTreeMap<&str, &Value> = nodes
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let members = answer["workspace_default_members"]
        .as_array()
        .into_iter()
        .flatten();
    let mut wanted: Vec<&str> = members.filter_map(Value::as_str).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = wanted.pop() {
        if !found.insert(id) {
            continue;
        }
        let dependencies = nodes.get(id).and_then(|node| node["deps"].as_array());
        for dependency in dependencies.into_iter().flatten() {
            let kinds = dependency["dep_kinds"].as_array();
            if kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null())) {
                wanted.extend(dependency["pkg"].as_str());
            }
        }
    }
    found
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
    fn what_only_builds_or_tests_is_not_in_the_programs() {
        let answer = serde_json::json!({
            "workspace_default_members": ["us"],
            "resolve": { "nodes": [
                { "id": "us", "deps": [
                    { "pkg": "a", "dep_kinds": [{ "kind": null }] },
                    { "pkg": "builder", "dep_kinds": [{ "kind": "build" }] },
                    { "pkg": "tester", "dep_kinds": [{ "kind": "dev" }] },
                    { "pkg": "both", "dep_kinds": [{ "kind": "dev" }, { "kind": null }] },
                ] },
                { "id": "a", "deps": [{ "pkg": "us", "dep_kinds": [{ "kind": null }] }, { "pkg": "b", "dep_kinds": [{ "kind": null }] }] },
                { "id": "builder", "deps": [{ "pkg": "c", "dep_kinds": [{ "kind": null }] }] },
            ] },
        });
        assert_eq!(Vec::from_iter(linked(&answer)), ["a", "b", "both", "us"]);
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
