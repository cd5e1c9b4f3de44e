//! `clawdbot doctor`: what is risky in the configuration, the files and what runs, why it matters, and the command that ends
//! it. Looks without a network, without a running process, and at a file that does not load; what runs is measured from
//! outside and asked. It changes nothing and starts nobody unless it is told to, and then shows first what.

mod backups;
mod check;
mod environment;
mod exposure;
mod facts;
mod files;
mod fix;
mod live;
mod models;
mod page;
mod people;
#[cfg_attr(not(target_os = "linux"), path = "probe/elsewhere.rs")]
mod probe;
mod report;
mod running;
mod summary;
#[cfg(test)]
mod tests;
mod told;
mod version;

use std::cmp::Reverse;
use std::io::{IsTerminal as _, Write as _};

use clawdbot_config::{ConfigPath, Cure, Finding, LoadError, Mistake, about_rules, locate};

use self::check::{Check, Found, Hit, Hits, INVALID, Repair, Spot, UNSET};
use self::facts::Facts;
use self::report::Diagnosis;
use crate::args::Doctor;
use crate::dial::Sockets;
use crate::failure::{EXIT_USAGE, Failure};
use crate::out::{Out, Style};
use crate::place::{Place, word};

pub use page::markdown;
pub use report::schema;

/// Looks and reports: exit status 2 when something is critical, 1 for warnings with `--strict`.
///
/// # Errors
/// When `--fix` names nothing that can be fixed, or the output cannot be written.
pub async fn run(
    wanted: &Doctor,
    sockets: &Sockets,
    place: &Place,
    out: Out,
) -> Result<u8, Failure> {
    let mut facts = Facts::gather(place);
    let mut findings = look(&facts, out.style);
    let mut diagnosis = Diagnosis::default();
    if let Some(only) = &wanted.fix {
        let only = only.as_deref();
        only.map_or(Ok(()), can_fix)?;
        let mut plan = fix::plan(&findings, only, &place.config, &facts.text);
        let apply = !plan.is_empty() && (wanted.yes || agreed(&mut plan, out)?);
        diagnosis.fix = Some(match apply {
            true => plan.apply(&place.config),
            false => plan.dry(),
        });
        if apply {
            facts = Facts::gather(place);
            findings = look(&facts, out.style);
        }
    }
    let (measured, report) = running::gather(place, sockets, wanted.deep).await;
    let policy = report.as_ref().is_ok_and(|report| report.policy.is_some());
    if facts.config_unseen && policy {
        facts.config_told = told::ask(sockets).await;
        findings = look(&facts, out.style);
    }
    let broken = match (&facts.config_told, facts.config_unseen) {
        (Some(told), _) => !told.mistakes.is_empty(),
        (None, unseen) => facts.config.is_err() && !unseen,
    };
    let told = live::look(report, broken, measured.start(), &measured.as_processes());
    if wanted.probe {
        let matrix = probe::run(place, &measured, out).await?;
        findings.extend(matrix.findings());
        diagnosis.probe = Some(matrix);
    }
    facts.running = measured;
    findings.extend(told.0);
    findings.extend(rows(check::of_what_runs(), &facts));
    findings.sort_by_key(|found| Reverse(found.severity));
    diagnosis.findings = findings;
    diagnosis.running = told.1;
    diagnosis.measured = std::mem::take(&mut facts.running);
    diagnosis.inactive = inactive(&facts);
    diagnosis.aim(place);
    match out.json {
        true => out.value(&diagnosis.json(place))?,
        false => out.text(&diagnosis.text(place, out.style, out.verbose))?,
    }
    Ok(diagnosis.exit(wanted.strict))
}

fn inactive(facts: &Facts) -> Vec<(String, String)> {
    match (&facts.config_told, &facts.config) {
        (Some(told), _) => {
            let all = told.inactive.iter();
            all.map(|one| (one.path.clone(), one.feature.clone()))
                .collect()
        }
        (None, Ok(loaded)) => {
            let all = loaded.inactive().iter();
            all.map(|one| (one.path.clone(), one.feature.to_owned()))
                .collect()
        }
        (None, Err(_)) => Vec::new(),
    }
}

/// Everything that can be found of these facts without those of what runs.
fn look(facts: &Facts, style: Style) -> Vec<Found> {
    let mut findings = match &facts.config {
        Ok(loaded) => loaded
            .findings
            .iter()
            .map(|finding| of_rule(finding, facts))
            .collect(),
        Err(_) if facts.config_unseen => {
            { facts.config_told.as_ref() }.map_or_else(Vec::new, told::found)
        }
        Err(error) => of_mistakes(error, facts, style),
    };
    for (path, name) in &facts.unset {
        let hit = Hit::setting(path, format!("{path}: the variable {name} is not set"));
        findings.push(UNSET.found(hit));
    }
    findings.extend(rows(check::all(), facts));
    find_places(facts, &mut findings);
    findings
}

/// What these rows see.
fn rows(checks: impl Iterator<Item = &'static Check>, facts: &Facts) -> Vec<Found> {
    let found = checks.flat_map(|check| {
        let mut hits = Hits::default();
        (check.look)(facts, &mut hits);
        hits.0.into_iter().map(|hit| check.found(hit))
    });
    found.collect()
}

/// Settings that have no place yet get theirs, with the path in front of what was found there.
fn find_places(facts: &Facts, findings: &mut [Found]) {
    let open = |found: &&mut Found| found.spot.is_none() && !found.path.is_empty();
    let mut open: Vec<&mut Found> = findings.iter_mut().filter(open).collect();
    let paths = open
        .iter()
        .map(|found| found.path.parse().unwrap_or_default());
    let places = locate(&facts.text, &paths.collect::<Vec<ConfigPath>>());
    for (found, place) in open.iter_mut().zip(places) {
        if !found.detail.starts_with(&found.path) {
            found.detail = format!("{} {}", found.path, found.detail);
        }
        found.spot = Some(Spot {
            file: facts.place.config.clone(),
            at: place.map(|place| (place.line, place.column)),
        });
    }
}

fn of_rule(finding: &Finding, facts: &Facts) -> Found {
    let repair = match finding.cure {
        Cure::Fix(value) => finding
            .path
            .parse()
            .ok()
            .map(|path| Repair::Set { path, value }),
        // The others are for the owner to choose.
        _ => None,
    };
    Found {
        id: finding.id.to_owned(),
        severity: finding.severity,
        path: finding.path.clone(),
        spot: Some(Spot {
            file: facts.place.config.clone(),
            at: finding.place.map(|place| (place.line, place.column)),
        }),
        title: finding.title.to_owned(),
        detail: finding.detail.clone(),
        why: finding.why.to_owned(),
        help: finding.remedy.to_owned(),
        command: finding.cure.command(&finding.path, &facts.text),
        repair,
        excerpt: None,
    }
}

/// One finding for each mistake of a file that does not load, under the id of the rule that it breaks.
fn of_mistakes(error: &LoadError, facts: &Facts, style: Style) -> Vec<Found> {
    let one = |mistake: &Mistake| {
        let rule = mistake
            .rule
            .and_then(|id| about_rules().find(|rule| rule.id == id));
        let found = INVALID.found(Hit::default());
        let excerpt = mistake.excerpt(style.color());
        let found = Found {
            path: mistake.path.clone(),
            spot: Some(Spot {
                file: facts.place.config.clone(),
                at: mistake.place.map(|place| (place.line, place.column)),
            }),
            title: mistake.message.clone(),
            help: mistake.help.clone().unwrap_or(found.help),
            excerpt: (!excerpt.is_empty()).then_some(excerpt),
            ..found
        };
        match rule {
            // What cannot be read cannot be corrected in an editor either.
            None if mistake.place.is_none() => Found {
                command: format!("ls -ld {}", word(&facts.place.config.display().to_string())),
                ..found
            },
            None => found,
            Some(rule) => Found {
                id: rule.id.to_owned(),
                why: rule.why.to_owned(),
                command: { mistake.cure.as_ref().unwrap_or(&rule.cure) }
                    .command(&mistake.path, &facts.text),
                ..found
            },
        }
    };
    let mut found: Vec<Found> = error.mistakes().iter().map(one).collect();
    if error.more() > 0 {
        let title = format!("{} more mistakes", error.more());
        found.push(Found {
            title,
            ..INVALID.found(Hit::file(&facts.place.config, ""))
        });
    }
    found
}

/// The ids that `--fix` knows.
fn fixable() -> Vec<String> {
    let rules = about_rules().filter(|rule| matches!(rule.cure, Cure::Fix(_)));
    let checks = check::all().filter(|check| check.fixes);
    let ids = rules
        .map(|rule| rule.id)
        .chain(checks.map(|check: &Check| check.id));
    ids.map(str::to_owned).collect()
}

fn can_fix(id: &str) -> Result<(), Failure> {
    if fixable().iter().any(|known| known == id) {
        return Ok(());
    }
    let exists =
        about_rules().any(|rule| rule.id == id) || check::all().any(|check| check.id == id);
    let message = match exists {
        true => format!("{id} is for you to decide; nothing fixes it by itself"),
        false => format!("there is no check {id}"),
    };
    let remedy = match exists {
        true => "`clawdbot doctor` shows the command that ends it".to_owned(),
        false => format!("what can be fixed: {}", fixable().join(", ")),
    };
    Err(Failure::new("doctor.fix", message)
        .exit(EXIT_USAGE)
        .remedy(remedy))
}

/// Asks the person at the terminal. Where there is none, nobody agreed.
fn agreed(plan: &mut fix::Plan, out: Out) -> Result<bool, Failure> {
    if out.json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{}Do it? [y/N] ", plan.show(out.err))?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
