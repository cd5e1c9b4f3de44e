//! Who was approved, and what it means that several people share one conversation. Reads policy's own file, and says so when
//! that file is damaged: then nobody counts as approved.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use clawdbot_config::Severity::{Critical, Warn};
use clawdbot_config::{DmScope, Loaded};
use serde_json::Value;

use super::check::{Check, Hit, Hits};
use super::facts::{Facts, read_small};

/// Larger than any book of people.
const MAX_BOOK: u64 = 16 << 20;

/// What is known of approvals.
#[derive(Debug, PartialEq, Eq)]
pub enum People {
    /// There is no file, or this user may not read it.
    Unknown,
    /// The file is not whole.
    Damaged,
    /// Channel and sender of everybody who was approved.
    Approved(BTreeSet<(String, String)>),
}

pub const CHECKS: &[Check] = &[
    Check {
        id: "channels.<channel>.dm.scope_main_multiuser",
        severity: Warn,
        title: "More than one person and one conversation",
        why: "What one person tells the assistant, it can tell the others.",
        help: "write dmScope: \"per-channel-peer\"",
        command: "clawdbot config set session.dmScope '\"per-channel-peer\"'",
        fixes: false,
        look: shared_conversation,
    },
    Check {
        id: "pairing.damaged",
        severity: Critical,
        title: "The approvals cannot be read",
        why: "Nobody counts as approved until they can.",
        help: "restore the file from a backup, or move it away and approve again; then restart",
        command: "mv PATH PATH.damaged",
        fixes: false,
        look: |facts, hits| {
            if facts.people == People::Damaged {
                hits.add(Hit::file(
                    book(&facts.place.state),
                    "is damaged or of a later version",
                ));
            }
        },
    },
];

fn book(state: &Path) -> std::path::PathBuf {
    state.join("pairing/people.json")
}

/// Reads the file of approvals.
pub fn read(state: &Path) -> People {
    match read_small(&book(state), MAX_BOOK) {
        Ok(text) => parse(&text).map_or(People::Damaged, People::Approved),
        Err(error) if error.kind() == ErrorKind::InvalidData => People::Damaged,
        Err(_) => People::Unknown,
    }
}

fn parse(text: &str) -> Option<BTreeSet<(String, String)>> {
    let page: Value = serde_json::from_str(text).ok()?;
    if page["version"] != 1 {
        return None;
    }
    let mut people = BTreeSet::new();
    for account in page["accounts"].as_array()? {
        let channel = account["channel"].as_str()?;
        for one in account["approved"].as_array()? {
            people.insert((channel.to_owned(), one["sender"].as_str()?.to_owned()));
        }
    }
    Some(people)
}

/// The configuration's own rule counts those that the file names; with those that were approved there can be more.
fn shared_conversation(facts: &Facts, hits: &mut Hits) {
    let (Ok(loaded), People::Approved(approved)) = (&facts.config, &facts.people) else {
        return;
    };
    if loaded.config.session.dm_scope != DmScope::Main {
        return;
    }
    for (channel, listed) in listed(loaded) {
        let known = approved.iter().filter(|(on, _)| on == channel);
        let all: BTreeSet<&str> = known
            .map(|(_, who)| who.as_str())
            .chain(listed.iter().copied())
            .collect();
        let id = format!("channels.{channel}.dm.scope_main_multiuser");
        if all.len() > 1 && loaded.findings.iter().all(|finding| finding.id != id) {
            let detail = format!(
                "is \"main\" and {} people may write on {channel}; only the owner's messages are joined",
                all.len()
            );
            hits.add(Hit {
                channel: Some(channel),
                ..Hit::setting("session.dmScope", detail)
            });
        }
    }
}

/// Who is in a channel's lists, over all of its accounts.
fn listed(loaded: &Loaded) -> Vec<(&'static str, BTreeSet<&str>)> {
    let mut all: Vec<(&'static str, BTreeSet<&str>)> = Vec::new();
    for (channel, _, view) in loaded.config.channels.accounts() {
        let names = view.allow_from.iter().map(|sender| sender.as_str());
        match all.iter_mut().find(|(known, _)| *known == channel) {
            Some((_, people)) => people.extend(names),
            None => all.push((channel, names.collect())),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvals_are_read_and_what_is_cut_is_damaged() {
        let text = r#"{"version":1,"accounts":[{"channel":"telegram","account":"default","pending":[],"approved":[{"sender":"7","hint":"","approved":1}],"names":{}}]}"#;
        let one = BTreeSet::from([("telegram".to_owned(), "7".to_owned())]);
        assert_eq!(parse(text), Some(one));
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), None, "cut at {end}");
        }
    }
}
