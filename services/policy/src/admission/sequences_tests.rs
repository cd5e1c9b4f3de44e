//! Random files against random sequences of messages and of what the owner does in between, on every channel. An oracle
//! that knows neither the settings nor the book says who may reach an agent, by which rule, and in which conversation.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tests::{ANN, direct_from};
use super::*;
use crate::distil::tests::settings_of;
use crate::pairing::{Asked, Book, Request, TTL_MS};

/// xorshift64: the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn some<T: Copy>(&mut self, from: &[T]) -> Vec<T> {
        from.iter().copied().filter(|_| self.one_in(3)).collect()
    }
}

/// Channel, people, groups with the key and the part of the id that a row has, and where its people stand.
type Scene = (
    &'static str,
    [&'static str; 4],
    [(&'static str, &'static str, &'static str); 2],
    &'static str,
);

const SCENES: &[Scene] = &[
    (
        "telegram",
        ["1", "2", "3", "4"],
        [("groups", "-1", "-1"), ("groups", "-2", "-2")],
        "allowFrom",
    ),
    (
        "discord",
        [
            "123456789012345671",
            "123456789012345672",
            "123456789012345673",
            "123456789012345674",
        ],
        [
            ("guilds", "223456789012345671", "223456789012345671/1"),
            ("guilds", "223456789012345672", "223456789012345672/2"),
        ],
        "users",
    ),
    (
        "signal",
        [
            "+15555550101",
            "+15555550102",
            "uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "uuid:b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
        [
            ("groups", "aaaaaaaa/aaaaaaa", "aaaaaaaa/aaaaaaa"),
            ("groups", "bbbbbbbbbbbbbbbb", "bbbbbbbbbbbbbbbb"),
        ],
        "allowFrom",
    ),
    (
        "whatsapp",
        ["+15555550101", "+15555550102", "lid:1", "bsuid:US.a"],
        [
            ("groups", "11111@g.us", "11111@g.us"),
            ("groups", "22222@g.us", "22222@g.us"),
        ],
        "allowFrom",
    ),
    (
        "imessage",
        ["+15555550101", "+15555550102", "a@b.example", "c@d.example"],
        [
            ("groups", "chat_id:1", "chat_id:1"),
            ("groups", "chat_id:2", "chat_id:2"),
        ],
        "allowFrom",
    ),
];
const ACCOUNTS: [&str; 2] = ["default", "work"];
/// Names that people bear in turn; only some services have them.
const NAMES: [&str; 2] = ["anna", "eve_"];

/// Who may write: ids, `@names`, or everybody.
type List = Vec<&'static str>;

struct Row {
    id: &'static str,
    enabled: bool,
    gate: Option<bool>,
    list: Option<List>,
}

struct File {
    scene: &'static Scene,
    dm: &'static str,
    group: &'static str,
    allow: List,
    group_allow: Option<List>,
    rows: Vec<Row>,
    trust: bool,
    owners: Option<List>,
    ttl: Option<Duration>,
    patterns: bool,
}

struct Said {
    account: &'static str,
    who: usize,
    name: &'static str,
    group: Option<usize>,
    mentioned: bool,
    text: &'static str,
    bot: bool,
}

impl File {
    fn random(random: &mut Random) -> Self {
        let scene = { &SCENES[usize::try_from(random.below(SCENES.len() as u64)).unwrap()] };
        let named = matches!(scene.0, "telegram" | "discord");
        let list = |random: &mut Random| {
            let mut list = random.some(&scene.1);
            if named && random.one_in(3) {
                list.push(random.pick(&["@anna", "@eve_"]));
            }
            list
        };
        let dm = random.pick(&["pairing", "pairing", "allowlist", "open", "disabled"]);
        let mut allow = list(random);
        if dm == "open" {
            allow.push("*");
        }
        // A list may be left out, written without anybody in it, or name people.
        let mut group_allow = match random.below(4) {
            0 | 1 => None,
            2 => Some(Vec::new()),
            _ => Some(list(random)),
        };
        if let (Some(list), true) = (&mut group_allow, random.one_in(6)) {
            list.push("*");
        }
        let ids = [scene.2[0].1, scene.2[1].1, "*"];
        let rows = random.some(&ids).into_iter().map(|id| Row {
            id,
            enabled: !random.one_in(6),
            gate: random.pick(&[None, Some(true), Some(false)]),
            list: match random.below(4) {
                0 => Some(list(random)),
                1 if random.one_in(3) => Some(vec!["*"]),
                1 if random.one_in(3) => Some(Vec::new()),
                _ => None,
            },
        });
        let rows = rows.collect();
        Self {
            dm,
            allow,
            group_allow,
            rows,
            group: random.pick(&["allowlist", "allowlist", "open", "disabled"]),
            trust: scene.0 == "telegram" && random.one_in(4),
            owners: match random.below(6) {
                0..3 => None,
                3 => Some(Vec::new()),
                _ => Some(random.some(&scene.1)),
            },
            ttl: random.one_in(3).then_some(Duration::from_secs(7200)),
            patterns: random.one_in(2),
            scene,
        }
    }

    fn text(&self) -> String {
        let (channel, _, groups, people) = self.scene;
        let quoted = |list: &List| {
            list.iter()
                .map(|one| format!("'{one}'"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let written = |key: &str, list: &Option<List>| {
            let list = list.as_ref();
            list.map(|list| format!("{key}: [{}],", quoted(list)))
                .unwrap_or_default()
        };
        let owners = self.owners.as_ref().map(|owners| {
            let owners = owners.iter().map(|one| format!("'{channel}:{one}'"));
            let owners = owners.collect::<Vec<_>>().join(", ");
            format!("commands: {{ownerAllowFrom: [{owners}]}},")
        });
        let row = |row: &Row| {
            let gate = row
                .gate
                .map(|gate| format!("requireMention: {gate},"))
                .unwrap_or_default();
            // Only `groups` have a switch; a server is off when nothing in it is listened to.
            let enabled = match groups[0].0 {
                "guilds" if !row.enabled => "channels: {'*': {enabled: false}},".to_owned(),
                "guilds" => String::new(),
                _ => format!("enabled: {},", row.enabled),
            };
            let list = written(people, &row.list);
            format!("'{}': {{{gate} {enabled} {list}}}", row.id)
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        let trust = if self.trust { "trustNames: true," } else { "" };
        let token = match *channel {
            "telegram" => "botToken: '${T}',",
            _ => "",
        };
        format!(
            "{{{} {} {} channels: {{{channel}: {{{token} {trust} dmPolicy: '{}', groupPolicy: '{}', allowFrom: [{}], {}
              {}: {{{}}}, accounts: {{work: {{}}}}}}}}}}",
            owners.unwrap_or_default(),
            self.ttl.map(|_| "pairing: {approvalTtl: '2h'},").unwrap_or_default(),
            if self.patterns { "messages: {groupChat: {mentionPatterns: ['clawd']}}," } else { "" },
            self.dm, self.group, quoted(&self.allow), written("groupAllowFrom", &self.group_allow), groups[0].0, rows.join(", "),
        )
    }
}

/// What the oracle remembers: who was approved when and bears which name, and who waits, by account.
#[derive(Default)]
struct World {
    now: u64,
    approved: BTreeMap<(&'static str, usize), u64>,
    pins: BTreeMap<(&'static str, String), usize>,
    waiting: Vec<(&'static str, usize, String, Option<String>, u64)>,
}

impl World {
    fn holds(&self, file: &File, account: &'static str, who: usize) -> bool {
        let ends = |at: &u64| {
            file.ttl
                .is_none_or(|ttl| self.now < at + ttl.as_millis() as u64)
        };
        self.approved.get(&(account, who)).is_some_and(ends)
    }

    fn bearer(&self, file: &File, account: &'static str, name: &str) -> Option<usize> {
        let who = *self.pins.get(&(account, name.to_owned()))?;
        self.holds(file, account, who).then_some(who)
    }

    /// Whether an agent gets to see a message: class, standing and conversation.
    fn reached(&self, file: &File, said: &Said) -> Option<String> {
        let (channel, people, groups, _) = file.scene;
        let id = people[said.who];
        let mine = |entry: &&str| match entry.strip_prefix('@') {
            Some(_) => self.bearer(file, said.account, entry) == Some(said.who),
            None => *entry == id,
        };
        let borne = |entry: &&str| {
            entry.strip_prefix('@') == Some(said.name)
                && self.bearer(file, said.account, entry).is_none()
        };
        let listed = |list: &List| {
            list.iter()
                .any(|entry| mine(entry) || (file.trust && borne(entry)))
        };
        if said.bot {
            return None;
        }
        let Some(group) = said.group else {
            let owner = match (&file.owners, file.allow.as_slice()) {
                (Some(owners), _) => owners.iter().any(mine),
                (None, [only]) => *only != "*" && mine(only),
                (None, _) => false,
            };
            let who = match file.dm {
                "disabled" => return None,
                _ if owner => return Some("main owner agent:main:main".to_owned()),
                _ if listed(&file.allow) || self.holds(file, said.account, said.who) => "approved",
                "open" => "stranger",
                _ => return None,
            };
            let key = format!("agent:main:{channel}:dm:{id}").to_lowercase();
            return Some(format!("guest {who} {key}"));
        };
        let star = file.rows.iter().find(|row| row.id == "*");
        let row = file
            .rows
            .iter()
            .find(|row| row.id == groups[group].1)
            .or(star);
        if file.group == "disabled"
            || (row.is_none() && !file.rows.is_empty())
            || row.is_some_and(|row| !row.enabled)
        {
            return None;
        }
        let own = row.and_then(|row| row.list.as_ref());
        let shared = file.group_allow.as_ref().unwrap_or(&file.allow);
        let list = own.unwrap_or(shared);
        let listed = listed(list);
        if !(listed || list.contains(&"*") || (file.group == "open" && own.is_none())) {
            return None;
        }
        let gate = row
            .and_then(|row| row.gate)
            .or(star.and_then(|row| row.gate))
            .unwrap_or(true);
        let called = said.mentioned
            || (file.patterns && said.text.contains("clawd"))
            || (listed && said.text.starts_with("/status"));
        if gate && !called {
            return None;
        }
        let kind = if *channel == "discord" {
            "channel"
        } else {
            "group"
        };
        let who = if listed { "approved" } else { "stranger" };
        Some(format!(
            "guest {who} agent:main:{channel}:{kind}:{}",
            groups[group].2
        ))
    }

    /// Whether somebody who does not reach the agent may get a code, and the listed name that he comes under.
    fn may_ask(&self, file: &File, said: &Said) -> Option<Option<String>> {
        let name = format!("@{}", said.name);
        let listed =
            file.allow.contains(&name.as_str()) && self.bearer(file, said.account, &name).is_none();
        let asks = !said.bot
            && said.group.is_none()
            && (file.dm == "pairing" || (listed && file.dm != "disabled"));
        asks.then(|| listed.then_some(name))
    }
}

#[test]
fn no_file_and_no_sequence_lets_a_message_reach_an_agent_but_by_the_rule_that_says_so() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut messages, mut reached, mut codes, mut approvals) = (0, 0, 0, 0);
    for _ in 0..700 {
        let file = File::random(&mut random);
        let text = file.text();
        let settings = settings_of(&text);
        let (channel, people, groups, _) = file.scene;
        let rules = settings.channel(channel).unwrap();
        let (mut book, mut world) = (
            Book::default(),
            World {
                now: 1_000_000,
                ..World::default()
            },
        );
        for _ in 0..30 {
            world.now += random.below(2_400_000);
            match random.below(10) {
                0 | 1 if !world.waiting.is_empty() => {
                    let at = usize::try_from(random.below(world.waiting.len() as u64)).unwrap();
                    let (account, who, code, name, since) = world.waiting.remove(at);
                    let good = world.now < since + TTL_MS;
                    if random.one_in(4) {
                        assert_eq!(book.reject(channel, &code, world.now).is_ok(), good);
                        continue;
                    }
                    let done = book.approve(channel, &code, world.now, file.ttl);
                    assert_eq!(done.is_ok(), good, "{text}");
                    if good {
                        approvals += 1;
                        world.approved.insert((account, who), world.now);
                        if let Some(name) = name
                            && world.bearer(&file, account, &name).is_none()
                        {
                            world.pins.insert((account, name), who);
                        }
                        assert!(
                            book.approve(channel, &code, world.now, file.ttl).is_err(),
                            "one use"
                        );
                    }
                }
                2 => {
                    let (account, who) = (
                        random.pick(&ACCOUNTS),
                        usize::try_from(random.below(4)).unwrap(),
                    );
                    let done = book.revoke(channel, account, people[who]);
                    assert_eq!(
                        done.is_ok(),
                        world.approved.remove(&(account, who)).is_some()
                    );
                    if done.is_ok() {
                        world
                            .pins
                            .retain(|(own, _), id| *own != account || *id != who);
                    }
                }
                _ => {
                    let said = Said {
                        account: random.pick(&ACCOUNTS),
                        who: usize::try_from(random.below(4)).unwrap(),
                        name: match *channel {
                            "telegram" | "discord" => random.pick(&["", NAMES[0], NAMES[1]]),
                            _ => "",
                        },
                        group: random.pick(&[None, None, Some(0), Some(1)]),
                        mentioned: random.one_in(3),
                        text: random.pick(&["hello", "hey clawd", "/status", "/model x"]),
                        bot: random.one_in(12),
                    };
                    let message = Message {
                        account: said.account,
                        place: said.group.map_or(Place::Direct, |group| Place::Group {
                            id: groups[group].2,
                            thread: "",
                        }),
                        mentioned: said.mentioned,
                        text: said.text,
                        ..direct_from(Person {
                            id: people[said.who],
                            username: said.name,
                            is_bot: said.bot,
                            ..ANN
                        })
                    };
                    let verdict = judge(
                        &settings,
                        rules,
                        &book.view(channel, said.account, world.now, file.ttl),
                        &message,
                    );
                    let expected = world.reached(&file, &said);
                    let shown = format!("{text}\n{message:?}\n{verdict:?}");
                    messages += 1;
                    match verdict {
                        Verdict::Admit {
                            class,
                            session,
                            standing,
                        } => {
                            reached += 1;
                            assert_eq!(
                                Some(format!("{class} {standing} {session}")),
                                expected,
                                "{shown}"
                            );
                        }
                        Verdict::Pair { name } => {
                            assert_eq!(
                                (expected, Some(name.clone())),
                                (None, world.may_ask(&file, &said)),
                                "{shown}"
                            );
                            let request = Request {
                                channel: (*channel).to_owned(),
                                account: said.account.to_owned(),
                                sender: people[said.who].to_owned(),
                                hint: String::new(),
                                name: name.clone(),
                                event: messages.to_string(),
                            };
                            let asked = book.ask(request, world.now, || {
                                Ok(random.below(u64::MAX).to_be_bytes())
                            });
                            world.waiting.retain(|one| world.now < one.4 + TTL_MS);
                            let own: Vec<_> = world
                                .waiting
                                .iter()
                                .filter(|one| one.0 == said.account)
                                .collect();
                            match asked.unwrap() {
                                Asked::New(code) => {
                                    codes += 1;
                                    assert!(
                                        own.len() < 3 && own.iter().all(|one| one.1 != said.who),
                                        "{shown}"
                                    );
                                    world.waiting.push((
                                        said.account,
                                        said.who,
                                        code,
                                        name,
                                        world.now,
                                    ));
                                }
                                Asked::Known => assert!(own.iter().any(|one| one.1 == said.who)),
                                Asked::Full => assert_eq!(own.len(), 3),
                            }
                        }
                        Verdict::Ignore(_) => {
                            assert_eq!(expected, None, "{shown}");
                            assert_eq!(world.may_ask(&file, &said), None, "{shown}");
                        }
                    }
                }
            }
        }
    }
    // Positive controls: all of this happened, and often.
    assert!(
        messages > 10_000 && reached > 2_000 && codes > 500 && approvals > 100,
        "{messages} {reached} {codes} {approvals}"
    );
}
