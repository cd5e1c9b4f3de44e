//! The findings for a person and for a script. What a script reads is published in docs/doctor.schema.json.

use std::fmt::Write as _;

use clawdbot_config::Severity;
use clawdbot_identity::text::sanitize_line;
use serde_json::{Value, json};

use super::check::Found;
use super::fix::Outcome;
use super::probe::{self, Matrix};
use super::running::{self, Running};
use crate::failure::{EXIT_FAILURE, EXIT_USAGE};
use crate::out::{Style, count};
use crate::place::Place;

/// Everything that was found, the worst first.
#[derive(Default)]
pub struct Diagnosis {
    pub findings: Vec<Found>,
    /// Settings that the file has and that do nothing yet, with the feature that they wait for.
    pub inactive: Vec<(String, String)>,
    pub running: bool,
    /// What was measured of what runs.
    pub measured: Running,
    /// What `--fix` did or would do.
    pub fix: Option<Outcome>,
    /// What `--probe` came to.
    pub probe: Option<Matrix>,
}

impl Diagnosis {
    fn number(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings.filter(|found| found.severity == severity).count()
    }

    /// Has every command look where this one did.
    pub fn aim(&mut self, place: &Place) {
        for found in &mut self.findings {
            found.command = place.aim(&found.command);
            found.help = place.aim(&found.help);
        }
    }

    /// 2 when something is critical, 1 for warnings with `strict` and for a fix that did not succeed, else 0.
    pub fn exit(&self, strict: bool) -> u8 {
        let failed = self.fix.as_ref().is_some_and(|fix| !fix.failed.is_empty());
        match () {
            () if self.number(Severity::Critical) > 0 => EXIT_USAGE,
            () if failed || strict && self.number(Severity::Warn) > 0 => EXIT_FAILURE,
            () => 0,
        }
    }

    pub fn json(&self, place: &Place) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        let inactive = self.inactive.iter();
        let inactive: Vec<Value> = inactive
            .map(|(path, feature)| json!({ "path": path, "feature": feature }))
            .collect();
        let mut report = json!({
            "findings": findings,
            "counts": {
                "critical": self.number(Severity::Critical),
                "warn": self.number(Severity::Warn),
                "info": self.number(Severity::Info),
            },
            "inactive": inactive,
            "running": self.running,
            "mode": match self.measured.system {
                true => "system",
                false => "single",
            },
            "processes": self.measured.json(),
            "machine": self.measured.machine_json(&place.state),
            "configPath": place.config.display().to_string(),
            "stateDir": place.state.display().to_string(),
        });
        if let Some(fix) = &self.fix {
            report["fix"] = fix.json();
        }
        if let Some(probe) = &self.probe {
            report["probe"] = probe.json();
        }
        report
    }

    pub fn text(&self, place: &Place, style: Style, verbose: bool) -> String {
        let mut text = String::new();
        if verbose {
            text.push_str(&self.measured.table(style));
        }
        if let Some(fix) = &self.fix {
            text.push_str(&fix.text(style));
        }
        if let Some(probe) = &self.probe {
            text.push_str(&probe.text(style, verbose));
        }
        for found in &self.findings {
            one(&mut text, found, place, style);
        }
        // Writing to a String cannot fail.
        if !self.inactive.is_empty() {
            let head = "Accepted, but without effect: the feature is not there yet";
            let _ = writeln!(text, "\n{}", style.bold(head));
        }
        for (path, feature) in &self.inactive {
            let (path, feature) = (sanitize_line(path), sanitize_line(feature));
            let _ = writeln!(text, "  {path}  {}", style.dim(&feature));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let (critical, warnings) = (self.number(Severity::Critical), self.number(Severity::Warn));
        let verdict = match critical + warnings {
            0 => style.green("nothing to worry about"),
            _ => format!("{critical} critical, {}", count(warnings, "warning")),
        };
        let _ = writeln!(text, "{verdict}");
        text
    }
}

fn one(text: &mut String, found: &Found, place: &Place, style: Style) {
    let severity = match found.severity {
        Severity::Critical => style.red("critical"),
        Severity::Warn => style.yellow("warning"),
        Severity::Info => style.dim("note"),
    };
    let id = style.dim(&format!("[{}]", found.id));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{severity}  {} {id}", sanitize_line(&found.title));
    if let Some(spot) = &found.spot {
        let _ = writeln!(
            text,
            "  {} {}",
            style.dim("at"),
            sanitize_line(&spot.to_string())
        );
    }
    if !found.detail.is_empty() {
        let _ = writeln!(text, "  {}", sanitize_line(&found.detail));
    }
    if let Some(excerpt) = &found.excerpt {
        let _ = writeln!(text, "{}", excerpt.trim_end());
    }
    // A note is no reason to lecture.
    let lines: &[(&str, &String)] = match found.severity {
        Severity::Info => &[("help:", &found.help)],
        _ => &[
            ("why:", &found.why),
            ("help:", &found.help),
            ("run:", &found.command),
        ],
    };
    for (head, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
        let _ = writeln!(text, "  {} {}", style.bold(head), sanitize_line(line));
    }
    if found.repair.is_some() {
        let _ = writeln!(
            text,
            "  {} {} {}",
            style.bold("or:"),
            sanitize_line(&place.aim("clawdbot doctor --fix")),
            found.id
        );
    }
}

fn finding(found: &Found) -> Value {
    let place = found.spot.as_ref().map(|spot| {
        json!({
            "file": spot.file.display().to_string(),
            "line": spot.at.map(|at| at.0),
            "column": spot.at.map(|at| at.1),
        })
    });
    json!({
        "id": found.id,
        "severity": found.severity.as_str(),
        "path": found.path,
        "place": place,
        "title": found.title,
        "detail": found.excerpt.as_ref().unwrap_or(&found.detail),
        "why": found.why,
        "help": found.help,
        "remedy": found.command,
        "fixable": found.repair.is_some(),
    })
}

/// The schema of what a script reads, as JSON Schema 2020-12.
pub fn schema() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let object = |properties: Value, optional: &[&str]| {
        let names = properties
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name);
        let required: Vec<_> = names
            .filter(|name| !optional.contains(&name.as_str()))
            .cloned()
            .collect();
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    };
    let list = |items: Value| json!({ "type": "array", "items": items });
    let described = |mut schema: Value, text: &str| {
        schema["description"] = text.into();
        schema
    };
    let mut place = object(
        json!({ "file": text(), "line": maybe("integer"), "column": maybe("integer") }),
        &[],
    );
    place["type"] = json!(["object", "null"]);
    let finding = object(
        json!({
            "id": described(text(), "Stable; docs/checks.md lists all of them."),
            "severity": { "type": "string", "enum": ["critical", "warn", "info"] },
            "path": described(text(), "The setting, or empty."),
            "place": described(place, "File, line and column from 1; null for what no file is about."),
            "title": text(),
            "detail": text(),
            "why": described(text(), "Why it matters, in one sentence."),
            "help": described(text(), "What to do, in words."),
            "remedy": described(text(), "A command that does it; words in capitals are to be filled in."),
            "fixable": described(json!({ "type": "boolean" }), "Whether --fix ends it."),
        }),
        &[],
    );
    let change = object(
        json!({ "id": text(), "target": text(), "from": text(), "to": text() }),
        &[],
    );
    let failed = object(json!({ "id": text(), "reason": text() }), &[]);
    let fix = object(
        json!({
            "applied": described(json!({ "type": "boolean" }), "False for a dry run."),
            "changes": list(change),
            "diff": described(text(), "What changes in the configuration file, secrets shown as ***."),
            "backup": described(maybe("string"), "Where the file as it was before is kept."),
            "failed": list(failed),
        }),
        &[],
    );
    let mut schema = object(
        json!({
            "findings": described(list(finding), "The worst first."),
            "counts": object(json!({ "critical": number(), "warn": number(), "info": number() }), &[]),
            "inactive": described(list(object(json!({ "path": text(), "feature": text() }), &[])), "Settings that have no effect yet."),
            "running": { "type": "boolean" },
            "mode": described(json!({ "type": "string", "enum": ["single", "system"] }), "Who starts the processes: clawdbot up, or the service manager."),
            "processes": described(list(object(running::schema(), &[])), "What was measured of each process; null for what this user cannot see."),
            "machine": described(object(running::machine_schema(), &[]), "What is below; null for what is not known."),
            "configPath": text(),
            "stateDir": text(),
            "fix": described(fix, "Only with --fix."),
            "probe": described(probe::schema(), "Only with --probe: what each attempt to break out came to in each process, and what would have been right where it is not."),
        }),
        &["fix", "probe"],
    );
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "clawdbot doctor --json".into();
    schema["description"] = "Exit status: 0 nothing critical, 1 warnings with --strict or a fix that did not succeed, 2 something critical.".into();
    schema
}
