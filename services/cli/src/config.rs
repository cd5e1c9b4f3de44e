//! `clawdbot config`: whether the file loads, what is in force, and where the file is. Secrets are never shown.

use serde_json::json;

use crate::check::{load, read};
use crate::failure::Failure;
use crate::out::{Out, count, pretty};
use crate::place::Place;

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
        Some(path) => loaded.get(path).ok_or_else(|| {
            Failure::new(
                "config.path",
                format!("there is no setting {path}, or it has no value"),
            )
            .remedy("`clawdbot config get` prints all settings that have one")
        })?,
    };
    match value.as_str() {
        Some(text) if !out.json => out.text(&clawdbot_identity::text::sanitize_block(text))?,
        _ => out.text(&pretty(&value))?,
    }
    Ok(0)
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
