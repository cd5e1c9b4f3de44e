//! `clawdbot config`: whether the file loads, what is in force, where the file is, and changes of it. Secrets are never
//! shown. A change that would add a mistake to the file is refused, and so is a secret on the command line.

use std::path::{Path, PathBuf};

use clawdbot_config::edit::{self, EditError, SaveError};
use clawdbot_config::{ConfigPath, Finding, LoadError, ReloadMode};
use clawdbot_identity::Role;
use clawdbot_identity::text::sanitize_line;
use clawdbot_service::system::user_of;
use serde_json::json;

use crate::accounts::Accounts;
use crate::check::{load, read};
use crate::failure::{EXIT_CONFIG, EXIT_USAGE, Failure};
use crate::out::{Out, count, pretty};
use crate::place::{Place, word};
use crate::{apply, remote, rights};

/// Exit status 0 when the file loads.
///
/// # Errors
/// Exit status 78 with all mistakes when it does not.
pub fn validate(place: &Place, out: Out) -> Result<u8, Failure> {
    let loaded = load(place, out)?;
    let (file, exists) = (place.config.display().to_string(), loaded.source.is_some());
    let (findings, inactive) = (loaded.findings.len(), loaded.inactive().len());
    if out.json {
        out.value(&json!({ "valid": true, "file": file, "exists": exists, "findings": findings, "inactive": inactive }))?;
        return Ok(0);
    }
    let mut text = match exists {
        true => format!("valid: {file}"),
        false => format!("valid: {file} does not exist, so the defaults are in force"),
    };
    if findings + inactive > 0 {
        let findings = count(findings, "finding");
        let inactive = count(inactive, "setting");
        text.push_str(&format!(
            "\n{findings}, {inactive} not active yet; `clawdbot doctor` tells more"
        ));
    }
    out.text(&text)?;
    Ok(0)
}

/// Prints the value in force at `path`, or everything.
///
/// # Errors
/// When the file does not load or there is no such setting.
pub fn get(path: Option<&str>, place: &Place, out: Out) -> Result<u8, Failure> {
    let loaded = read(place, out)?;
    let value = match path {
        None => loaded.to_json(),
        Some(path) => loaded.get(path).ok_or_else(|| no_setting(path))?,
    };
    match value.as_str() {
        Some(text) if !out.json => out.text(&clawdbot_identity::text::sanitize_block(text))?,
        _ => out.text(&pretty(&value))?,
    }
    Ok(0)
}

/// Why there is no value at a path.
pub fn no_setting(path: &str) -> Failure {
    Failure::new(
        "config.path",
        format!("there is no setting {path}, or it has no value"),
    )
    .remedy("`clawdbot config get` prints all settings that have one")
}

/// Prints where the file is expected.
///
/// # Errors
/// When the output cannot be written.
pub fn path(place: &Place, out: Out) -> Result<u8, Failure> {
    let file = place.config.display().to_string();
    match out.json {
        true => out.value(&json!({ "path": file, "exists": place.config.exists() }))?,
        false => out.text(&file)?,
    }
    Ok(0)
}

/// Gives settings their values, all or none: `words` are paths, each before its value.
///
/// # Errors
/// When a setting or a value is wrong, or the file cannot be written.
pub fn set(words: &[String], string: bool, place: &Place, out: Out) -> Result<u8, Failure> {
    let (pairs, rest) = words.as_chunks();
    if let [path] = rest {
        return Err(Failure::new(
            "config.value",
            format!("{} has no value", sanitize_line(path)),
        )
        .exit(EXIT_USAGE)
        .remedy("write every PATH with its VALUE behind it"));
    }
    let mut settings = Vec::new();
    for [path, value] in pairs {
        let path = setting(path)?;
        let value = edit::typed(&path, value, string);
        settings.push((path, value));
    }
    let paths: Vec<_> = settings.iter().map(|(path, _)| path.to_string()).collect();
    let settings: Vec<_> = settings
        .iter()
        .map(|(path, value)| (path, &**value))
        .collect();
    change(place, out, &paths.join(", "), |name, text| {
        edit::set_all(name, text, &settings)
    })
}

/// Takes one setting out of the file.
///
/// # Errors
/// When there is no such setting, the file needs it, or cannot be written.
pub fn unset(path: &str, place: &Place, out: Out) -> Result<u8, Failure> {
    let path = setting(path)?;
    change(place, out, &path.to_string(), |name, text| {
        edit::unset(name, text, &path)
    })
}

/// Prints the schema.
///
/// # Errors
/// When the output cannot be written.
pub fn schema(markdown: bool, out: Out) -> Result<u8, Failure> {
    match markdown {
        true => out.text(&clawdbot_config::reference_markdown())?,
        false => out.text(&pretty(&clawdbot_config::json_schema()))?,
    }
    Ok(0)
}

fn setting(path: &str) -> Result<ConfigPath, Failure> {
    path.parse().map_err(|error: clawdbot_config::PathError| {
        Failure::new("config.path", format!("{path:?} is {error}")).exit(EXIT_USAGE)
    })
}

fn change(
    place: &Place,
    out: Out,
    path: &str,
    edit: impl Fn(&str, &str) -> Result<String, EditError>,
) -> Result<u8, Failure> {
    if place.is_system() {
        rights::root_only("a change of this machine's configuration")?;
    }
    let name = place.config.display().to_string();
    let unsaved =
        |error: SaveError| Failure::new("config.file", error.to_string()).remedy(error.help);
    let before = edit::read(&place.config).map_err(unsaved)?;
    let after = edit(&name, &before).map_err(|error| refused(error, out))?;
    let changed = after != before;
    let known = (changed && is_watched(place))
        .then(|| remote::taken(place))
        .flatten();
    let backup = match changed {
        true => save(place, &before, &after).map_err(unsaved)?,
        false => None,
    };
    if let Some(before) = known {
        remote::wait_for_next(place, &before);
    }
    let applied = match changed && place.is_system() {
        true => bring_in_line(place, out),
        false => Ok(Vec::new()),
    };
    let backup = backup.map(|path| path.display().to_string());
    let telling = backup.is_some() && edit::tells_secret(&before, &after);
    let diff = edit::diff(&name, &before, &after);
    let new = raised(&name, &before, &after);
    // An empty text is no file yet.
    let left = edit::judge(&name, &after).err();
    let left = left.filter(|_| !after.is_empty());
    if out.json {
        let new: Vec<_> = new
            .iter()
            .map(|found| {
                json!({ "id": found.id, "severity": found.severity.as_str(), "path": found.path,
                        "detail": found.detail, "remedy": place.aim(found.remedy) })
            })
            .collect();
        out.value(
            &json!({ "changed": changed, "file": name, "path": path, "backup": backup,
                           "diff": diff, "findings": new,
                           "backupHoldsSecret": telling, "mistakes": left.as_ref().map(LoadError::to_json),
                           "applied": applied.as_ref().ok(),
                           "applyError": applied.as_ref().err().map(|failure| failure.json()["error"].take()) }),
        )?;
        return applied.map_or_else(|failure| Ok(failure.exit), |_| Ok(0));
    }
    if !changed {
        let left = left.map_or_else(String::new, |left| format!("\n{}", remaining(&left, place)));
        let path = sanitize_line(path);
        out.text(&format!(
            "nothing to change: {path} is like that already{left}"
        ))?;
        return Ok(0);
    }
    let mut text = diff;
    if let Some(backup) = backup {
        text.push_str(&format!("the old file is {}\n", sanitize_line(&backup)));
        if telling {
            text.push_str(&format!(
                "note: it still holds the secret that the file no longer does; when you need it no longer: rm {}\n",
                sanitize_line(&word(&backup))
            ));
        }
    }
    for found in new {
        text.push_str(&format!(
            "{}: {} [{}]\n  help: {}\n",
            found.severity.as_str(),
            sanitize_line(&found.detail),
            found.id,
            sanitize_line(&place.aim(found.remedy))
        ));
    }
    // What the file names and nobody set keeps the assistant from taking it.
    if let Some(left) = left {
        text.push_str(&remaining(&left, place));
    } else if let Err(unset) = load(place, out)
        && let Some(evidence) = unset.evidence
    {
        text.push_str(&format!("note: {}", evidence.text));
    }
    for change in applied.iter().flatten() {
        text.push_str(&format!("applied: {}\n", sanitize_line(change)));
    }
    out.text(text.trim_end())?;
    applied.map(|_| 0)
}

/// Whether policy takes up a change by itself, unless the file as it is says otherwise.
fn is_watched(place: &Place) -> bool {
    let now = clawdbot_config::load(&place.config).ok();
    now.is_none_or(|now| now.config.gateway.reload.mode != ReloadMode::Off)
}

/// Saves the text. A new file of the system's is for policy to read as well.
fn save(place: &Place, before: &str, after: &str) -> Result<Option<PathBuf>, SaveError> {
    let policy = place
        .is_system()
        .then(|| Accounts::read(Path::new("/etc")).gid(&user_of(&Role::policy())));
    match policy.flatten() {
        Some(group) => edit::save_for(&place.config, before, after, group),
        None => edit::save(&place.config, before, after),
    }
}

/// What only root can make follows the change at once. A file that does not load changes nothing.
fn bring_in_line(place: &Place, out: Out) -> Result<Vec<String>, Failure> {
    if clawdbot_config::load(&place.config).is_err() {
        return Ok(Vec::new());
    }
    apply::now(|| read(place, out), false).map(|applied| applied.changes)
}

/// What is still wrong with the file after a change.
fn remaining(left: &LoadError, place: &Place) -> String {
    let number = count(left.mistakes().len() + left.more(), "mistake");
    let first = sanitize_line(&left.first()).into_owned();
    let all = place.aim("`clawdbot doctor` shows what ends them");
    format!("note: the file is still not valid, {number} left: {first}\n{all}\n")
}

/// The findings that the change brought.
fn raised(name: &str, before: &str, after: &str) -> Vec<Finding> {
    let of = |text: &str| {
        let loaded = edit::judge(name, text);
        loaded.map_or_else(|_| Vec::new(), |loaded| loaded.findings)
    };
    let old = of(before);
    let same = |a: &Finding, b: &Finding| (a.id, &a.detail) == (b.id, &b.detail);
    let mut new = of(after);
    new.retain(|found| !old.iter().any(|known| same(known, found)));
    new
}

fn refused(error: EditError, out: Out) -> Failure {
    match error {
        EditError::Refused(error) => Failure::new(
            "config.invalid",
            "nothing is changed: the file would have a mistake that it has not now",
        )
        .exit(EXIT_CONFIG)
        .evidence(error.render(out.err.color()), error.to_json())
        .remedy("correct what is shown, in the file or in the value"),
        EditError::Value(_) => Failure::new("config.value", error.to_string())
            .exit(EXIT_USAGE)
            .remedy("put it in quotes for the shell; with --string it is taken as a text"),
        EditError::Place(_) => Failure::new("config.path", error.to_string())
            .exit(EXIT_USAGE)
            .remedy("`clawdbot config get` prints all settings that have a value"),
        EditError::Secret(_) => Failure::new("config.secret", error.to_string())
            .exit(EXIT_USAGE)
            .remedy("store it with `clawdbot login`, or write '${NAME}' for a variable or '{source: \"file\", id: \"NAME\"}'; a literal can only be written with an editor"),
    }
}
