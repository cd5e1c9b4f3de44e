//! The steps that a tool has to pass, in their order: profile, provider, everybody's lists, the agent's, the group's, the
//! sandbox', a sub-agent's. Each can only take away. All of what is allowed anywhere here comes out of [`judge`].

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::LazyLock;

use clawdbot_config::{Profile, Sender, ToolPattern};
use clawdbot_identity::{Class, SessionKey};

use super::lists::{Lists, PlaceLists, Policy, Sandbox, SandboxLists};
use super::place;
use crate::denied::Denied;
use crate::distil::DEFAULT_ACCOUNT;

/// Whose model asks for the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider<'a> {
    Known(&'a str),
    /// Then the lists for every provider hold.
    Unknown,
}

/// For whom is decided.
pub(crate) struct Asker<'a> {
    pub(crate) class: Class,
    pub(crate) session: &'a SessionKey,
    /// In the channel's form; empty: nobody in particular.
    pub(crate) sender: &'a str,
    pub(crate) provider: Provider<'a>,
    /// Whether a listed name was this sender's when the owner approved of it.
    pub(crate) is_named: &'a dyn Fn(&str) -> bool,
}

/// What one list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum List<'a> {
    /// Only these.
    Allow([&'a [ToolPattern]; 3]),
    /// Never these.
    Deny(&'a [ToolPattern]),
}

/// One list with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    list: List<'a>,
    /// Where the configuration has it, and under which key.
    path: &'a str,
    key: &'static str,
    /// The list is this one's.
    profile: Option<Profile>,
    /// Where `alsoAllow` adds to it; empty: nowhere.
    adds: &'a str,
}

/// A tool as policy sees it: its name, and the groups that its own process says it is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    pub(crate) groups: &'a [String],
}

/// A list of this build.
type Words = LazyLock<Vec<ToolPattern>>;

static MINIMAL: Words = LazyLock::new(|| words(&["session_status"]));
static CODING: Words = LazyLock::new(|| {
    words(&[
        "group:fs",
        "group:runtime",
        "group:sessions",
        "group:memory",
        "image",
    ])
});
static MESSAGING: Words = LazyLock::new(|| {
    words(&[
        "group:messaging",
        "sessions_list",
        "sessions_history",
        "sessions_send",
        "session_status",
    ])
});
static IN_SANDBOX: Words =
    LazyLock::new(|| words(&["group:runtime", "group:fs", "group:sessions"]));
static NOT_IN_SANDBOX: Words = LazyLock::new(|| {
    words(&[
        "group:ui",
        "group:nodes",
        "group:automation",
        "whatsapp",
        "telegram",
        "discord",
        "signal",
        "imessage",
    ])
});
/// Looking at a picture is no way out of the sandbox; who does not want it denies it.
static ALSO_IN_SANDBOX: Words = LazyLock::new(|| words(&["image"]));
static NOT_FOR_SUB_AGENTS: Words = LazyLock::new(|| {
    words(&[
        "group:sessions",
        "group:memory",
        "gateway",
        "agents_list",
        "whatsapp_login",
        "cron",
    ])
});

fn words(words: &[&str]) -> Vec<ToolPattern> {
    words
        .iter()
        .filter_map(|word| ToolPattern::parse(word))
        .collect()
}

/// What a profile includes; none: everything.
fn of_profile(profile: Profile) -> Option<&'static [ToolPattern]> {
    match profile {
        Profile::Minimal => Some(&MINIMAL),
        Profile::Coding => Some(&CODING),
        Profile::Messaging => Some(&MESSAGING),
        Profile::Full => None,
    }
}

/// Whether a tool may be called.
///
/// # Errors
/// With the rule `tool.denied`, the list and what mends it.
pub(crate) fn judge(lists: &Lists, asker: &Asker<'_>, tool: Tool<'_>) -> Result<(), Denied> {
    match steps(lists, asker).iter().find(|step| !step.passes(tool)) {
        None => Ok(()),
        Some(step) => Err(Denied::new(
            "tool.denied",
            format!(
                "{} is not allowed in {}, because of {}. Remedy: {}. `clawdbot sandbox explain --session {}` shows all.",
                tool.name,
                asker.session,
                step.source(),
                step.remedy(),
                asker.session,
            ),
        )),
    }
}

/// A number that two askers have in common when they get the same tools.
pub(crate) fn mark(lists: &Lists, asker: &Asker<'_>) -> u64 {
    let steps = steps(lists, asker);
    let lists: Vec<_> = steps.iter().map(|step| &step.list).collect();
    BuildHasherDefault::<DefaultHasher>::default().hash_one(lists)
}

/// Whether the session's tools run in the sandbox.
pub(super) fn is_sandboxed(sandbox: &Sandbox, class: Class) -> bool {
    match sandbox.mode {
        "off" => false,
        "non-main" => class != Class::Main,
        _ => true,
    }
}

/// What holds for the session's agent.
pub(super) fn sandbox_of(lists: &Lists, session: &SessionKey) -> Sandbox {
    let own = lists.agents.get(session.agent());
    own.map_or(lists.sandbox, |own| own.sandbox)
}

/// Every list that concerns the asker.
pub(super) fn steps<'a>(lists: &'a Lists, asker: &Asker<'_>) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let agent = lists.agents.get(asker.session.agent());
    let own = agent.map(|agent| &agent.own);
    begin(&lists.base, own, asker.class, &mut steps);
    let rows = [
        Some(&lists.by_provider),
        agent.map(|agent| &agent.by_provider),
    ];
    let by_provider = rows.map(|rows| match (rows, asker.provider) {
        (None, _) => Vec::new(),
        (Some(rows), Provider::Known(id)) => rows.get(id).into_iter().collect(),
        (Some(rows), Provider::Unknown) => rows.values().collect::<Vec<_>>(),
    });
    for policy in by_provider.iter().flatten() {
        profile(policy, &mut steps);
    }
    let [for_all, for_agent] = by_provider;
    let all = [&lists.base].into_iter().chain(for_all);
    for policy in all.chain(own).chain(for_agent) {
        restrict(policy, &mut steps);
    }
    for policy in in_group(lists, asker) {
        profile(policy, &mut steps);
        restrict(policy, &mut steps);
    }
    if is_sandboxed(&sandbox_of(lists, asker.session), asker.class) {
        let own = agent.map(|agent| &agent.sandbox_lists);
        in_sandbox(&lists.sandbox_lists, own, &mut steps);
    }
    if asker.session.rest().starts_with("subagent:") {
        steps.push(deny("", "", &NOT_FOR_SUB_AGENTS));
    }
    steps
}

/// The profile that a session begins with.
fn begin<'a>(base: &'a Policy, agent: Option<&'a Policy>, class: Class, steps: &mut Vec<Step<'a>>) {
    let says = |of: fn(&Policy) -> bool| agent.filter(|own| of(own)).unwrap_or(base);
    let (named, also) = (
        says(|own| own.profile.is_some()),
        says(|own| !own.also.is_empty()),
    );
    let profile = named.profile.unwrap_or(match class {
        Class::Main => Profile::Coding,
        Class::Guest => Profile::Messaging,
    });
    if let Some(list) = of_profile(profile) {
        steps.push(Step {
            list: List::Allow([list, &also.also, &[]]),
            path: &named.path,
            key: "profile",
            profile: Some(profile),
            // The configuration refuses alsoAllow beside allow.
            adds: if also.allow.is_empty() {
                &also.path
            } else {
                ""
            },
        });
    }
}

/// The profile of a narrower choice.
fn profile<'a>(policy: &'a Policy, steps: &mut Vec<Step<'a>>) {
    if let Some(profile) = policy.profile
        && let Some(list) = of_profile(profile)
    {
        steps.push(Step {
            list: List::Allow([list, &policy.also, &[]]),
            path: &policy.path,
            key: "profile",
            profile: Some(profile),
            adds: if policy.allow.is_empty() {
                &policy.path
            } else {
                ""
            },
        });
    }
}

/// Lists that name tools. `alsoAllow` alone has nothing to add to.
fn restrict<'a>(policy: &'a Policy, steps: &mut Vec<Step<'a>>) {
    if !policy.deny.is_empty() {
        steps.push(deny(&policy.path, "deny", &policy.deny));
    }
    if !policy.allow.is_empty() {
        steps.push(Step {
            list: List::Allow([&policy.allow, &[], &[]]),
            path: &policy.path,
            key: "allow",
            profile: None,
            adds: "",
        });
    }
}

fn deny<'a>(path: &'a str, key: &'static str, list: &'a [ToolPattern]) -> Step<'a> {
    Step {
        list: List::Deny(list),
        path,
        key,
        profile: None,
        adds: "",
    }
}

/// What the groups' lists say. The most specific counts: the sender in the topic or group, the topic or group itself, the
/// sender in `*`, `*` itself. Where the key names no account, what each of them says holds.
fn in_group<'a>(lists: &'a Lists, asker: &Asker<'_>) -> Vec<&'a Policy> {
    let Some(place) = place(asker.session) else {
        return Vec::new();
    };
    let here = |row: &&'a PlaceLists| {
        let account = row.account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
        row.channel == place.channel && place.account.is_none_or(|own| own == account)
    };
    let rows: Vec<&'a PlaceLists> = lists.places.iter().filter(here).collect();
    let mut accounts: Vec<_> = rows.iter().map(|row| &row.account).collect();
    accounts.sort();
    accounts.dedup();
    // A channel of a Discord server is SERVER/CHANNEL.
    let server = place
        .id
        .split_once('/')
        .map_or(place.id, |(server, _)| server);
    let ids = [
        (place.id, place.topic),
        (place.id, ""),
        (server, ""),
        ("*", ""),
    ];
    let found = accounts.into_iter().filter_map(|account| {
        let of = |(id, topic): &(&str, &str)| {
            let fits = |row: &&&'a PlaceLists| {
                row.account == *account && row.id.to_lowercase() == *id && row.topic == *topic
            };
            rows.iter().find(fits).copied()
        };
        let mut rows = ids.iter().filter_map(of);
        rows.find_map(|row| of_sender(row, asker).or(row.own.as_ref()))
    });
    found.collect()
}

fn of_sender<'a>(row: &'a PlaceLists, asker: &Asker<'_>) -> Option<&'a Policy> {
    let is = |sender: &Sender| match sender {
        Sender::Any => false,
        Sender::Id(id) => id == asker.sender,
        Sender::Name(name) => (asker.is_named)(name),
    };
    let own = row.senders.iter().find(|own| is(&own.0));
    let any = || row.senders.iter().find(|own| own.0 == Sender::Any);
    own.or_else(any).map(|found| &found.1)
}

fn in_sandbox<'a>(
    base: &'a SandboxLists,
    agent: Option<&'a SandboxLists>,
    steps: &mut Vec<Step<'a>>,
) {
    let says = |of: fn(&SandboxLists) -> bool| agent.filter(|own| of(own)).unwrap_or(base);
    let (allow, also, denies) = (
        says(|own| own.allow.is_some()),
        says(|own| !own.also.is_empty()),
        says(|own| own.deny.is_some()),
    );
    let denied = denies.deny.as_deref().unwrap_or(&NOT_IN_SANDBOX);
    steps.push(deny(&denies.path, "deny", denied));
    let allowed = allow.allow.as_deref().unwrap_or(&IN_SANDBOX);
    if !allowed.is_empty() {
        steps.push(Step {
            list: List::Allow([allowed, &also.also, &ALSO_IN_SANDBOX]),
            path: &allow.path,
            key: "allow",
            profile: None,
            adds: &also.path,
        });
    }
}

impl Step<'_> {
    /// Whether the list lets a tool through.
    pub(super) fn passes(&self, tool: Tool<'_>) -> bool {
        match &self.list {
            List::Deny(list) => !covers(list, tool),
            List::Allow(lists) => lists.iter().any(|list| {
                // A patch does nothing that a command cannot do.
                let exec = Tool {
                    name: "exec",
                    groups: &[],
                };
                covers(list, tool) || (tool.name == "apply_patch" && covers(list, exec))
            }),
        }
    }

    /// Whether it says which tools there are rather than which not.
    pub(super) fn is_allow(&self) -> bool {
        matches!(self.list, List::Allow(_))
    }

    /// The key that holds it.
    pub(super) fn source(&self) -> String {
        match self.profile {
            _ if self.key.is_empty() => "the list for sub-agents".to_owned(),
            Some(profile) => format!("{}.profile ({})", self.path, profile.as_str()),
            None => format!("{}.{}", self.path, self.key),
        }
    }

    /// What lets a tool pass that does not.
    pub(super) fn remedy(&self) -> String {
        let (path, key) = (self.path, self.key);
        match (&self.list, self.adds) {
            (_, _) if key.is_empty() => "nothing: no sub-agent has it".to_owned(),
            (List::Deny(_), _) => format!("take it out of {path}.{key}"),
            (List::Allow(_), "") if key == "profile" => format!("choose a wider {path}.profile"),
            (List::Allow(_), "") => format!("add it to {path}.{key}"),
            (List::Allow(_), adds) => format!("add it to {adds}.alsoAllow"),
        }
    }
}

/// Whether a list names a tool, a group that the configuration's own table puts it into, or one that it says it is in.
fn covers(list: &[ToolPattern], tool: Tool<'_>) -> bool {
    let said = |pattern: &ToolPattern| tool.groups.iter().any(|group| group == pattern.as_str());
    list.iter()
        .any(|pattern| pattern.matches(tool.name) || said(pattern))
}
