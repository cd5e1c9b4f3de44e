//! Where somebody whom the configuration names can be written to: a stable id in a direct conversation, through the
//! accounts of its channel that have such conversations. A name counts only for whom it is pinned to.

use clawdbot_config::{DmPolicy, Identity, Sender};

use crate::admission::People;
use crate::notices::Recipient;
use crate::pairing::Book;
use crate::settings::{Channel, Settings};

/// The owners' own conversations.
pub(crate) fn owners(settings: &Settings, book: &Book, now_ms: u64) -> Vec<Recipient> {
    if let Some(owners) = &settings.owners {
        return conversations(settings, book, now_ms, owners);
    }
    let mut all = Vec::new();
    for channel in &settings.channels {
        if let [only] = channel.people.as_slice() {
            add(&mut all, settings, book, now_ms, channel, only);
        }
    }
    all
}

/// The conversations of those who are named.
pub(crate) fn conversations(
    settings: &Settings,
    book: &Book,
    now_ms: u64,
    named: &[Identity],
) -> Vec<Recipient> {
    let mut all = Vec::new();
    for identity in named {
        if let Some(channel) = settings.channel(identity.channel()) {
            add(&mut all, settings, book, now_ms, channel, identity.sender());
        }
    }
    all
}

fn add(
    all: &mut Vec<Recipient>,
    settings: &Settings,
    book: &Book,
    now_ms: u64,
    channel: &Channel,
    sender: &Sender,
) {
    let accounts = channel.served.then_some(&channel.accounts);
    for account in accounts.into_iter().flatten() {
        if account.rules.dm == DmPolicy::Disabled {
            continue;
        }
        let name = &account.wire.account;
        let view = book.view(channel.name, name, now_ms, settings.approval_ttl);
        let person = match sender {
            Sender::Any => None,
            Sender::Id(id) => Some(id.as_str()),
            Sender::Name(alias) => view.pinned(alias),
        };
        let Some(person) = person else {
            continue;
        };
        let known =
            { all.iter_mut() }.find(|one| one.channel == channel.name && one.person == person);
        match known {
            Some(known) if known.accounts.contains(name) => {}
            Some(known) => known.accounts.push(name.clone()),
            None => all.push(Recipient {
                channel: channel.name.to_owned(),
                accounts: vec![name.clone()],
                person: person.to_owned(),
                thread: String::new(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distil::tests::settings_of;
    use crate::pairing::Request;

    fn of(text: &str) -> Vec<(String, String)> {
        shown(&owners(&settings_of(text), &Book::default(), 0))
    }

    fn shown(all: &[Recipient]) -> Vec<(String, String)> {
        let one = |one: &Recipient| (one.person.clone(), one.accounts.join(" "));
        all.iter().map(one).collect()
    }

    fn pair(person: &str, accounts: &str) -> (String, String) {
        (person.to_owned(), accounts.to_owned())
    }

    #[test]
    fn the_owner_is_who_is_named_or_who_is_alone() {
        for (text, expected) in [
            ("telegram: {allowFrom: [1]}", vec![pair("1", "default")]),
            ("telegram: {allowFrom: [1, 2]}", vec![]),
            ("telegram: {allowFrom: ['*'], dmPolicy: 'open'}", vec![]),
            ("telegram: {}", vec![]),
            (
                "telegram: {botToken: '${T}', allowFrom: [1], accounts: {work: {}, off: {dmPolicy: 'disabled'}}}",
                vec![pair("1", "default work")],
            ),
        ] {
            assert_eq!(of(&format!("{{channels: {{{text}}}}}")), expected, "{text}");
        }
        let named = "{commands: {ownerAllowFrom: ['telegram:7', 'telegram:tg:8', 'telegram:7', 'signal:+15555550100']}, channels: {telegram: {allowFrom: [1]}}}";
        assert_eq!(of(named), [pair("7", "default"), pair("8", "default")]);
    }

    #[test]
    fn a_name_is_whom_it_was_pinned_to_and_nobody_before_that() {
        let settings = settings_of("{channels: {telegram: {allowFrom: ['@annie']}}}");
        let mut book = Book::default();
        assert_eq!(shown(&owners(&settings, &book, 0)), []);
        let request = Request {
            channel: "telegram".to_owned(),
            account: "default".to_owned(),
            sender: "42".to_owned(),
            hint: String::new(),
            name: Some("@annie".to_owned()),
            event: "e".to_owned(),
        };
        book.ask(request, 0, || Ok([0; 8])).unwrap();
        assert_eq!(shown(&owners(&settings, &book, 0)), []);
        book.approve("telegram", "AAAAAAAA", 0, None).unwrap();
        assert_eq!(shown(&owners(&settings, &book, 0)), [pair("42", "default")]);
    }
}
