//! The danger rules: what a valid file still must not say, or what its owner should know about it.
//! One row per rule; ids are those that users of the original know, where it has one. Errors refuse the file, the
//! others are findings. A rule looks at the whole configuration, so it sees what no single key can.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;

use crate::excerpt::Lines;
use crate::json5::Node;
use crate::nearest::nearest;
use crate::path::ConfigPath;
use crate::problem::{Problem, Span};
use crate::report::Place;
use crate::schema::{Channels, NamedAccount, Settings};
use crate::secret::SecretTable;
use crate::senders::Identity;
use crate::shape::{Cx, Info, Kind, Limits, Places, Shape};

mod agents;
mod channels;
mod cure;
mod gateway;
mod rest;
#[cfg(test)]
mod tests;
mod tools;

pub(crate) use cure::BY_HAND;
pub use cure::{AboutRule, Cure, about_rules};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth changing.
    Warn,
    /// Dangerous.
    Critical,
}

impl Severity {
    /// `info`, `warn` or `critical`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Critical => "critical",
        }
    }
}

/// Something in a valid configuration that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule found it, for instance `gateway.token_too_short`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The setting.
    pub path: String,
    /// Where the file sets it, or else what lies around it; nothing when the file has neither.
    pub place: Option<Place>,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// Why it matters, in one sentence.
    pub why: &'static str,
    /// What exactly was found.
    pub detail: String,
    /// What to do.
    pub remedy: &'static str,
    /// What does it.
    pub cure: Cure,
}

/// What a rule does with a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grade {
    /// The file is refused.
    Error,
    /// The file is refused unless `dangerous.accept` names the rule.
    Accept,
    /// The file loads, with a finding.
    Find(Severity),
}

const INFO: Grade = Grade::Find(Severity::Info);
const WARN: Grade = Grade::Find(Severity::Warn);
const CRITICAL: Grade = Grade::Find(Severity::Critical);

pub(crate) struct Rule {
    pub id: &'static str,
    pub grade: Grade,
    /// The setting it is about, as the reference shows it.
    pub key: &'static str,
    pub title: &'static str,
    /// Why it matters, in one sentence.
    pub why: &'static str,
    pub remedy: &'static str,
    pub cure: Cure,
    pub check: fn(&Facts, &mut Hits),
}

/// What rules look at.
pub(crate) struct Facts<'a> {
    pub settings: &'a Settings,
    pub secrets: &'a SecretTable,
    pub set: &'a Places,
    pub moved: &'a [&'static str],
    /// The directory of the configuration file.
    pub directory: Option<&'a Path>,
    pub lines: Lines<'a>,
    pub accounts: Vec<NamedAccount<'a>>,
}

impl<'a> Facts<'a> {
    /// Whom the file names as owners.
    pub fn owners(&self) -> &'a [Identity] {
        let named = &self.settings.commands.owner_allow_from;
        named.as_deref().unwrap_or_default()
    }

    pub fn new(
        settings: &'a Settings,
        cx: &'a Cx,
        text: &'a str,
        directory: Option<&'a Path>,
    ) -> Self {
        Self {
            settings,
            secrets: &cx.secrets,
            set: &cx.set,
            moved: &cx.moved,
            directory,
            lines: Lines::new(text),
            accounts: Channels::accounts(&settings.channels),
        }
    }

    fn is_set(&self, path: &str) -> bool {
        self.set.contains(&at(path))
    }
}

/// Where a rule was broken.
#[derive(Default)]
pub(crate) struct Hits(Vec<Hit>);

/// One place where it was.
#[derive(Default)]
struct Hit {
    path: ConfigPath,
    /// Continues the path: "gateway.bind is …".
    detail: String,
    /// Where it is not that of the rule.
    grade: Option<Grade>,
    /// Where it is not that of the rule.
    cure: Option<Cure>,
}

impl Hits {
    fn add(&mut self, path: impl Into<ConfigPath>, detail: impl Into<String>) {
        self.0.push(Hit {
            path: path.into(),
            detail: detail.into(),
            ..Hit::default()
        });
    }

    fn add_if(&mut self, broken: bool, path: impl Into<ConfigPath>, detail: impl Into<String>) {
        if broken {
            self.add(path, detail);
        }
    }

    /// A hit that is graded unlike the others of its rule.
    fn add_as(&mut self, grade: Grade, path: impl Into<ConfigPath>, detail: impl Into<String>) {
        self.0.push(Hit {
            path: path.into(),
            detail: detail.into(),
            grade: Some(grade),
            cure: None,
        });
    }

    /// A hit that ends by something else than the others of its rule.
    fn add_with(&mut self, cure: Cure, path: impl Into<ConfigPath>, detail: impl Into<String>) {
        self.0.push(Hit {
            path: path.into(),
            detail: detail.into(),
            grade: None,
            cure: Some(cure),
        });
    }
}

impl From<&str> for ConfigPath {
    /// For the paths that rules name; only those that parse occur there.
    fn from(text: &str) -> Self {
        text.parse().unwrap_or_default()
    }
}

fn at(path: &str) -> ConfigPath {
    path.into()
}

/// Every rule.
pub(crate) fn all() -> impl Iterator<Item = &'static Rule> {
    let tables = [
        gateway::RULES,
        agents::RULES,
        tools::RULES,
        tools::ELEVATED,
        rest::RULES,
    ];
    tables
        .into_iter()
        .flatten()
        .chain(channels::RULES.iter().copied().flatten())
}

/// The ids of the rules that can be accepted.
fn acceptable() -> impl Iterator<Item = &'static str> {
    all()
        .filter(|rule| rule.grade == Grade::Accept)
        .map(|rule| rule.id)
}

/// Looks at the configuration with every rule.
pub(crate) fn check(facts: &Facts) -> (Vec<Problem>, Vec<Finding>) {
    let (mut problems, mut findings) = (Vec::new(), Vec::new());
    for rule in all() {
        let mut hits = Hits::default();
        (rule.check)(facts, &mut hits);
        let mut seen = BTreeSet::new();
        for hit in hits.0 {
            let Hit {
                path,
                detail,
                grade,
                cure,
            } = hit;
            let cure = cure.unwrap_or_else(|| rule.cure.clone());
            // What accounts inherit stands in the file once and is reported once.
            let span = facts.set.find(&path);
            if !seen.insert((span, detail.clone())) {
                continue;
            }
            let accepted = || {
                facts
                    .settings
                    .dangerous
                    .accept
                    .iter()
                    .any(|id| id.0 == rule.id)
            };
            let severity = match grade.unwrap_or(rule.grade) {
                Grade::Find(severity) => severity,
                Grade::Accept if accepted() => Severity::Critical,
                refused => {
                    let help = match refused {
                        Grade::Accept => {
                            let id = rule.id;
                            format!(
                                "{}; if you want it all the same: dangerous: {{ accept: [\"{id}\"] }}",
                                rule.remedy
                            )
                        }
                        _ => rule.remedy.to_owned(),
                    };
                    let mut problem = Problem::at(span, detail).path(path).help(help);
                    problem.rule = Some(Box::new((rule.id, cure)));
                    problems.push(problem);
                    continue;
                }
            };
            findings.push(Finding {
                id: rule.id,
                severity,
                detail: format!("{path} {detail}"),
                path: path.to_string(),
                place: (span != Span::default()).then(|| facts.lines.place(span.start)),
                title: rule.title,
                why: rule.why,
                remedy: rule.remedy,
                cure,
            });
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    (problems, findings)
}

/// The id of a rule that may be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted(&'static str);

impl Accepted {
    /// The id.
    pub fn as_str(&self) -> &'static str {
        self.0
    }
}

impl Shape for Accepted {
    fn info() -> Info {
        let name = "the id of a rule that can be accepted (a string)";
        Info::new(&[Kind::String], name, "\"sandbox.docker_user_root\"")
            .limits(Limits::Words(acceptable().collect()))
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let text = cx.text::<Self>(&node)?;
        let rule = all().find(|rule| rule.id == text);
        match rule {
            Some(rule) if rule.grade == Grade::Accept => return Some(Self(rule.id)),
            Some(rule) => {
                let help = match rule.grade {
                    Grade::Error => rule.remedy.to_owned(),
                    _ => "it does not stop the file from loading, so there is nothing to accept"
                        .to_owned(),
                };
                cx.fail(node.span, "names a rule that cannot be accepted")
                    .help = Some(help);
            }
            None => {
                let known: Vec<_> = acceptable().collect();
                let help = match nearest(&text, known.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("rules that can be accepted: {}", known.join(", ")),
                };
                cx.fail(node.span, "names a rule that does not exist").help = Some(help);
            }
        }
        None
    }

    fn show(&self) -> Json {
        self.0.into()
    }
}
