//! Models that are easier to talk into something than others: old families, small tiers, and small models that hold tools.
//! Goes by names alone, so it knows what a name says and nothing else.

use clawdbot_config::Severity::{Critical, Info, Warn};
use clawdbot_config::{Loaded, ModelChoice, SandboxMode, edit};
use clawdbot_identity::ModelRef;

use super::check::{Check, Hit, Hits};
use super::exposure::may;
use super::facts::Facts;
use super::summary::is_near;
use crate::place::word;

pub const CHECKS: &[Check] = &[
    Check {
        id: "models.legacy",
        severity: Warn,
        title: "Old model",
        why: "Models of that time follow instructions that are hidden in what they read.",
        help: "choose a model of today",
        command: "clawdbot config set PATH '\"PROVIDER/MODEL\"'",
        fixes: false,
        look: |facts, hits| {
            each(facts, |path, model, _| {
                if let Some(what) = legacy(model.model()) {
                    hits.add(Hit::setting(
                        path,
                        format!("is {model}, of the family {what}"),
                    ));
                }
            });
        },
    },
    Check {
        id: "models.weak_tier",
        severity: Warn,
        title: "Weak model",
        why: "The smaller and older a model is, the easier a stranger's text makes it use its tools.",
        help: "choose the strongest model for whatever reads text of strangers or holds tools",
        command: "clawdbot config set PATH '\"PROVIDER/MODEL\"'",
        fixes: false,
        look: |facts, hits| {
            each(facts, |path, model, _| {
                if let Some(what) = weak(model.model()) {
                    hits.add(Hit::setting(path, format!("is {model}, {what}")));
                }
            });
        },
    },
    Check {
        id: "models.small_params",
        severity: Critical,
        title: "Small model with tools",
        why: "A small model hardly tells the owner's words from those of a web page, and its tools do what it says.",
        help: "run everything in the sandbox and deny it the web, or choose a larger model",
        command: "clawdbot config set agents.defaults.sandbox.mode '\"all\"' && clawdbot config set tools.deny '[\"group:web\", \"browser\"]'",
        fixes: false,
        look: small_with_tools,
    },
];

/// Models up to this many thousand millions of parameters are small.
const SMALL: f64 = 300.0;

fn small_with_tools(facts: &Facts, hits: &mut Hits) {
    each(facts, |path, model, loaded| {
        let size = parameters(model.model());
        let near = loaded.config.models.endpoint(model.provider());
        // What runs on one machine is small, whatever its name keeps to itself.
        let unnamed = size.is_none() && near.is_some_and(|endpoint| is_near(&endpoint.base_url));
        let what = match size {
            Some(size) if size <= SMALL => {
                format!("is {model} with {size} thousand million parameters")
            }
            None if unnamed => format!("is {model}, whose name does not say how large it is"),
            Some(_) | None => return,
        };
        let reach = reach(loaded);
        let severity = match (reach.is_empty(), unnamed) {
            (true, _) => Info,
            (false, true) => Warn,
            (false, false) => Critical,
        };
        let detail = match reach.is_empty() {
            true => format!("{what}; it is kept in the sandbox and off the web"),
            false => format!("{what}, and {}", reach.join(" and ")),
        };
        let deny = edit::with_entries(&facts.text, "tools.deny", &["\"group:web\"", "\"browser\""]);
        hits.add(Hit {
            severity: Some(severity),
            command: Some(format!(
                "clawdbot config set agents.defaults.sandbox.mode '\"all\"' && clawdbot config set tools.deny {}",
                word(&deny)
            )),
            ..Hit::setting(path, detail)
        });
    });
}

/// What a model could do harm with.
fn reach(loaded: &Loaded) -> Vec<&'static str> {
    let config = &loaded.config;
    let tools = &config.tools;
    let web = tools.web.fetch.enabled && may(loaded, "web_fetch")
        || tools.web.search.enabled != Some(false) && may(loaded, "web_search")
        || may(loaded, "browser");
    let hands = ["exec", "write", "edit", "apply_patch"]
        .iter()
        .any(|tool| may(loaded, tool));
    let agents = config
        .agents
        .list
        .iter()
        .filter_map(|agent| agent.sandbox.as_ref());
    let all = agents
        .chain([&config.agents.defaults.sandbox])
        .all(|sandbox| sandbox.mode == SandboxMode::All);
    let mut reach = Vec::new();
    if web {
        reach.push("it reaches the web");
    }
    if hands && !all {
        reach.push("not all of its commands run in the sandbox");
    }
    reach
}

/// Calls `look` with every model that is chosen, and where.
fn each(facts: &Facts, mut look: impl FnMut(String, &ModelRef, &Loaded)) {
    let Ok(loaded) = &facts.config else { return };
    let agents = &loaded.config.agents;
    let mut choice = |path: &str, choice: &ModelChoice| {
        if let Some(model) = &choice.primary {
            look(format!("{path}.primary"), model, loaded);
        }
        for (index, model) in choice.fallbacks.iter().enumerate() {
            look(format!("{path}.fallbacks[{index}]"), model, loaded);
        }
    };
    choice("agents.defaults.model", &agents.defaults.model);
    for (index, agent) in agents.list.iter().enumerate() {
        if let Some(model) = &agent.model {
            choice(&format!("agents.list[{index}].model"), model);
        }
    }
    for model in agents.defaults.models.keys() {
        look(
            format!("agents.defaults.models[\"{model}\"]"),
            model,
            loaded,
        );
    }
}

/// Parts of names of families that are no longer served with care.
const LEGACY: &[(&str, &str)] = &[
    ("gpt-3.5", "GPT-3.5"),
    ("gpt-4-0314", "GPT-4 of 2023"),
    ("gpt-4-0613", "GPT-4 of 2023"),
    ("claude-instant", "Claude Instant"),
    ("claude-2", "Claude 2"),
];

fn legacy(model: &str) -> Option<&'static str> {
    let model = model.to_ascii_lowercase();
    let found = LEGACY.iter().find(|(part, _)| model.contains(part));
    found.map(|(_, family)| *family)
}

fn weak(model: &str) -> Option<&'static str> {
    let model = model.to_ascii_lowercase();
    if legacy(&model).is_some() {
        return None;
    }
    let below = |family: &str, least: (u32, u32)| {
        version_after(&model, family).is_some_and(|version| version < least)
    };
    match () {
        () if model.contains("haiku") => Some("the smallest tier of Claude"),
        () if below("gpt-", (5, 0)) => Some("older than GPT-5"),
        () if below("claude-", (4, 5)) => Some("older than Claude 4.5"),
        () => None,
    }
}

/// The first number of one or two digits after `family`, with the one that follows it: 4 and 5 in `claude-opus-4-5-20251101`.
fn version_after(model: &str, family: &str) -> Option<(u32, u32)> {
    let (_, rest) = model.split_once(family)?;
    let number = |part: &str| {
        let digits = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        (1..=2)
            .contains(&digits)
            .then(|| part[..digits].parse::<u32>().ok())
            .flatten()
    };
    let mut parts = rest
        .split(['-', '.'])
        .skip_while(|part| number(part).is_none());
    let major = number(parts.next()?)?;
    Some((major, parts.next().and_then(number).unwrap_or(0)))
}

/// Thousand millions of parameters as the name tells them: 8 for `llama-3.1-8b`, 56 for `mixtral:8x7b`,
/// 0.27 for `gemma3:270m`.
fn parameters(model: &str) -> Option<f64> {
    let model = model.to_ascii_lowercase();
    let words = model.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    words
        .filter_map(size)
        .fold(None, |largest: Option<f64>, size| {
            Some(largest.map_or(size, |largest| largest.max(size)))
        })
}

/// Fewer millions than this are no parameters: `1m` is how much a model reads.
const MILLIONS: f64 = 20.0;

fn size(word: &str) -> Option<f64> {
    let number = |text: &str| match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => text.parse::<f64>().ok(),
        false => None,
    };
    if let Some(digits) = word.strip_suffix('m') {
        let millions = number(digits).filter(|millions| *millions >= MILLIONS)?;
        return Some(millions / 1000.0);
    }
    let digits = word.strip_suffix('b')?;
    match digits.split_once('x') {
        Some((experts, each)) => Some(number(experts)? * number(each)?),
        // `a3b` is the part of a model that works at a time; `e4b` counts in a way of its own.
        None => number(digits.strip_prefix(['a', 'e']).unwrap_or(digits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_family_the_age_and_the_size() {
        for (model, old, below, billions) in [
            ("claude-opus-4-5", false, false, None),
            ("claude-opus-4-5-20251101", false, false, None),
            ("claude-sonnet-5", false, false, None),
            ("claude-sonnet-4-20250514", false, true, None),
            ("claude-3-5-sonnet-20241022", false, true, None),
            ("claude-haiku-4-5", false, true, None),
            ("claude-2.1", true, false, None),
            ("gpt-5", false, false, None),
            ("gpt-5.2-codex", false, false, None),
            ("gpt-4o", false, true, None),
            ("gpt-4.1-mini", false, true, None),
            ("gpt-3.5-turbo", true, false, None),
            ("gpt-oss-20b", false, false, Some(20.0)),
            ("gpt-oss:120b", false, false, Some(120.0)),
            ("llama3", false, false, None),
            ("llama-3.1-8b-instruct", false, false, Some(8.0)),
            ("qwen2.5:0.5b", false, false, Some(0.5)),
            ("smollm2:135m", false, false, Some(0.135)),
            ("qwen2.5-7b-1m", false, false, Some(7.0)),
            ("some-model-1m", false, false, None),
            ("qwen3-30b-a3b", false, false, Some(30.0)),
            ("mixtral:8x7b", false, false, Some(56.0)),
            ("llama-3.1-405b", false, false, Some(405.0)),
            ("deepseek/web", false, false, None),
        ] {
            assert_eq!(
                (
                    legacy(model).is_some(),
                    weak(model).is_some(),
                    parameters(model)
                ),
                (old, below, billions),
                "{model}"
            );
        }
    }
}
