//! What must hold for all units together, read from the files as a service manager reads them.
#![allow(clippy::unwrap_used, clippy::panic)] // A failed expectation ends the test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use clawdbot_confine::landlock::Access;
use clawdbot_confine::profile::{Arch, Mode, Place, profile};
use clawdbot_identity::{Class, Role};
use clawdbot_proto::edges::{EDGES, PROCESSES, Starts, matches};
use clawdbot_service::system;
use clawdbot_units::{COMMON, REASONS, Who, files, permitted, reason};

/// Section, key, value, in order.
type Lines = Vec<(String, String, String)>;

fn parse(text: &str) -> Lines {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').unwrap().to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            lines.push((section.clone(), key.to_owned(), value.to_owned()));
        } else {
            assert!(line.is_empty(), "{line}");
        }
    }
    lines
}

/// The system's units by name, templates as they are.
fn units() -> BTreeMap<String, Lines> {
    let units = files().into_iter().filter_map(|file| {
        let name = file.path.strip_prefix("system/")?;
        Some((name.to_owned(), parse(&file.text)))
    });
    units.collect()
}

fn text(path: &str) -> String {
    let file = files().into_iter().find(|file| file.path == path);
    file.unwrap().text
}

fn all<'a>(lines: &'a Lines, key: &'a str) -> impl Iterator<Item = &'a str> {
    lines
        .iter()
        .filter(move |(_, name, _)| name == key)
        .flat_map(|(_, _, value)| value.split_whitespace())
}

fn one<'a>(lines: &'a Lines, key: &str) -> &'a str {
    let mut found = lines.iter().filter(|(_, name, _)| name == key);
    let value = &found.next().unwrap_or_else(|| panic!("no {key}")).2;
    assert!(found.next().is_none(), "{key} twice");
    value
}

/// The unit file behind a name, and what `%i` is in it.
fn file_of(name: &str) -> (String, String) {
    let Some((stem, rest)) = name.split_once('@') else {
        return (name.to_owned(), String::new());
    };
    let (instance, ending) = rest.rsplit_once('.').unwrap();
    (format!("{stem}@.{ending}"), instance.to_owned())
}

/// Every role that has a user, also those with a process for each connection.
fn roles() -> Vec<Role> {
    let mut roles = system::roles();
    roles.extend(Class::ALL.map(Role::sandbox));
    roles.push(Role::journal());
    roles
}

/// Whether each connection has a process of its own.
fn accepts(lines: &Lines) -> bool {
    lines.iter().any(|(_, key, _)| key == "Accept")
}

/// The lines of a role's unit with its instance put in.
fn lines_of(role: &Role) -> Lines {
    let (file, instance) = file_of(&system::service_unit(role));
    let lines = units().remove(&file).unwrap_or_else(|| panic!("no {file}"));
    let put = |(section, key, value): (String, String, String)| {
        (section, key, value.replace("%i", &instance))
    };
    lines.into_iter().map(put).collect()
}

#[test]
fn every_edge_has_one_socket_and_there_is_no_other() {
    // Not by the functions that made the units: by the table.
    let mut ends: Vec<String> = Vec::new();
    for process in PROCESSES {
        match (process.starts, process.role.strip_suffix("NAME")) {
            (Starts::Always | Starts::Plan, None) => ends.push(process.role.to_owned()),
            (Starts::Always | Starts::Plan, Some(family)) => {
                ends.extend(system::MODELS.map(|name| format!("{family}{name}")));
            }
            (Starts::Person, _) => ends.push(process.role.to_owned()),
            (Starts::Demand | Starts::Itself, _) => {}
        }
    }
    let mut wanted = BTreeSet::from([
        ("clawdbot-gateway.service".to_owned(), "listener".to_owned()),
        // One process a connection: the name is the connection's.
        ("clawdbot-sandbox-main.socket".to_owned(), String::new()),
        ("clawdbot-sandbox-guest.socket".to_owned(), String::new()),
        ("clawdbot-journal.socket".to_owned(), String::new()),
    ]);
    for server in &ends {
        for client in &ends {
            let edge = EDGES
                .iter()
                .any(|edge| matches(edge.client, client) && matches(edge.server, server));
            if edge {
                let server = Role::parse(server).unwrap();
                wanted.insert((system::service_unit(&server), client.clone()));
            }
        }
    }
    let mut found = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for (name, lines) in units() {
        if !name.ends_with(".socket") {
            continue;
        }
        assert!(
            paths.insert(one(&lines, "ListenStream").to_owned()),
            "{name}"
        );
        let new = match accepts(&lines) {
            true => found.insert((name.clone(), String::new())),
            false => found.insert((
                one(&lines, "Service").to_owned(),
                one(&lines, "FileDescriptorName").to_owned(),
            )),
        };
        assert!(new, "{name} is a second socket for the same edge");
    }
    assert_eq!(found, wanted);
}

#[test]
fn a_socket_is_root_s_and_its_callers_and_nobody_else_s() {
    for (name, lines) in units() {
        if !name.ends_with(".socket") || name == system::LISTENER_UNIT {
            continue;
        }
        assert_eq!(one(&lines, "SocketUser"), "root", "{name}");
        assert_eq!(one(&lines, "SocketMode"), "0660", "{name}");
        assert_eq!(one(&lines, "DirectoryMode"), "0755", "{name}");
        let client = match (accepts(&lines), name.as_str()) {
            (true, "clawdbot-journal.socket") => "operator",
            (true, _) => "executor",
            (false, _) => one(&lines, "FileDescriptorName"),
        };
        let group = match client {
            "operator" => "clawdbot".to_owned(),
            client => format!("clawdbot-{client}"),
        };
        assert_eq!(one(&lines, "SocketGroup"), group, "{name}");
        let path = one(&lines, "ListenStream");
        assert!(path.starts_with("/run/clawdbot/"), "{name}: {path}");
        assert!(!path.starts_with("/run/clawdbot/plan"), "{name}: {path}");
    }
}

#[test]
fn a_service_has_the_sockets_that_name_it_and_the_target_wants_them_all() {
    let units = units();
    let target: BTreeSet<&str> = all(&units[system::TARGET], "Wants").collect();
    let mut wanted = BTreeSet::new();
    for role in roles() {
        let service = system::service_unit(&role);
        let lines = lines_of(&role);
        let own: BTreeSet<String> = all(&lines, "Sockets").map(str::to_owned).collect();
        let naming = units.iter().filter(|(name, lines)| {
            name.ends_with(".socket") && all(lines, "Service").any(|named| named == service)
        });
        let naming: BTreeSet<String> = naming.map(|(name, _)| name.clone()).collect();
        assert_eq!(own, naming, "{service}");
        wanted.extend(naming);
        match role.family() {
            "sandbox" | "journal" => {
                wanted.insert(format!("clawdbot-{role}.socket"));
            }
            "channel" => {
                wanted.insert(system::path_unit(&role.name().unwrap()));
            }
            // Started by whoever calls.
            "model" => assert!(!own.is_empty()),
            _ => {
                wanted.insert(service);
            }
        }
    }
    assert_eq!(target, wanted.iter().map(String::as_str).collect());
    for (name, lines) in &units {
        // The log can be read when all the rest is stopped.
        if name.starts_with("clawdbot-journal") {
            assert_eq!(all(lines, "PartOf").count(), 0, "{name}");
        } else if !name.ends_with(".slice") && name != system::TARGET {
            assert_eq!(one(lines, "PartOf"), system::TARGET, "{name}");
        }
    }
}

/// `(earlier, later)` for each pair that a service manager would order.
fn order() -> BTreeSet<(String, String)> {
    let units = units();
    let mut all_names: BTreeSet<String> = units
        .keys()
        .filter(|name| !name.contains('@'))
        .cloned()
        .collect();
    all_names.extend(roles().iter().map(system::service_unit));
    let channels = roles()
        .into_iter()
        .filter(|role| role.family() == "channel");
    all_names.extend(channels.map(|role| system::path_unit(&role.name().unwrap())));
    let mut order = BTreeSet::new();
    for name in &all_names {
        let (file, instance) = file_of(name);
        for (_, key, value) in &units[&file] {
            let value = value.replace("%i", &instance);
            for other in value.split_whitespace().map(str::to_owned) {
                match key.as_str() {
                    "After" | "Sockets" => order.insert((other, name.clone())),
                    "Before" | "Service" => order.insert((name.clone(), other)),
                    // A target waits for what it wants.
                    "Wants" if name.ends_with(".target") => order.insert((other, name.clone())),
                    _ => false,
                };
            }
        }
        if let Some(stem) = name.strip_suffix(".path") {
            order.insert((name.clone(), format!("{stem}.service")));
        }
        if name.ends_with(".socket") && accepts(&units[&file]) {
            let stem = name.strip_suffix(".socket").unwrap();
            order.insert((name.clone(), format!("{stem}@.service")));
        }
    }
    for (earlier, later) in &order {
        assert!(all_names.contains(earlier), "{earlier} does not exist");
        assert!(all_names.contains(later), "{later} does not exist");
    }
    order
}

#[test]
fn nothing_waits_for_itself() {
    let mut left = order();
    assert!(left.len() > 100);
    // Whoever waits for nobody can start; when nobody can, there is a circle.
    while !left.is_empty() {
        let waiting: BTreeSet<String> = left.iter().map(|(_, later)| later.clone()).collect();
        let before = left.len();
        left.retain(|(earlier, _)| waiting.contains(earlier));
        assert!(left.len() < before, "a circle: {left:?}");
    }
}

#[test]
fn every_user_and_group_is_made() {
    let made = text("sysusers.d/clawdbot.conf");
    let named = |kind: &str| -> BTreeSet<String> {
        let lines = made.lines().filter(|line| line.starts_with(kind));
        lines
            .map(|line| line.split(' ').nth(1).unwrap().to_owned())
            .collect()
    };
    let (users, groups) = (named("u "), named("g "));
    for role in roles() {
        let lines = lines_of(&role);
        assert!(users.contains(one(&lines, "User")), "{role}");
        assert_eq!(one(&lines, "Group"), one(&lines, "User"));
        assert_eq!(one(&lines, "User"), system::user_of(&role));
    }
    assert_eq!(users.len(), roles().len(), "nobody is made for nothing");
    for (name, lines) in units() {
        for group in all(&lines, "SocketGroup") {
            assert!(
                users.contains(group) || groups.contains(group),
                "{name}: {group}"
            );
        }
    }
    for line in made.lines().filter(|line| line.starts_with("u ")) {
        assert!(line.ends_with(" /nonexistent /usr/sbin/nologin"), "{line}");
    }
}

/// Path, mode, user, group of each folder.
fn folders() -> BTreeMap<String, (String, String, String)> {
    let text = text("tmpfiles.d/clawdbot.conf");
    let lines = text.lines().filter(|line| line.starts_with("d "));
    let folder = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let [_, path, mode, user, group, age]: [String; 6] = words.try_into().unwrap();
        assert_eq!(age, "-", "nothing is cleaned away");
        (path, (mode, user, group))
    };
    lines.map(folder).collect()
}

#[test]
fn every_folder_of_a_profile_is_made_for_its_one_writer() {
    let made = folders();
    let mut leaves = BTreeSet::new();
    for role in system::roles() {
        let (_, instance) = file_of(&system::service_unit(&role));
        let user = system::user_of(&role);
        for row in profile(role.as_str()).unwrap().files(Mode::System) {
            let Place::State(leaf) = row.place else {
                continue;
            };
            let path = format!("/var/lib/clawdbot/{}", leaf.replace("INSTANCE", &instance));
            let wanted = ("0700".to_owned(), user.clone(), user.clone());
            assert_eq!(made.get(&path), Some(&wanted), "{path}");
            assert!(leaves.insert(path.clone()), "{path} has two owners");
        }
    }
    assert!(leaves.len() > 5);
    for (path, (mode, user, group)) in &made {
        let Some(inside) = path.strip_prefix("/var/lib/clawdbot/") else {
            continue;
        };
        if inside == "plan" {
            // What policy writes there everybody reads at the start.
            let policy = system::user_of(&Role::policy());
            let wanted = ("0755".to_owned(), policy.clone(), policy);
            assert_eq!(made.get(path), Some(&wanted));
        } else if !leaves.contains(path) {
            assert!(
                system::SHARED_PARENTS.contains(&inside),
                "{path} is nobody's"
            );
            assert_eq!(
                (mode.as_str(), user.as_str(), group.as_str()),
                ("0711", "root", "root")
            );
        }
        let parent = path.rsplit_once('/').unwrap().0;
        assert!(made.contains_key(parent), "{parent} is not made");
    }
}

#[test]
fn a_unit_may_write_what_its_profile_may_write() {
    for role in system::roles() {
        let (_, instance) = file_of(&system::service_unit(&role));
        let rows = profile(role.as_str()).unwrap().files(Mode::System);
        let mut wanted = BTreeSet::new();
        for row in rows.filter(|row| row.access == Access::ReadWriteDir) {
            match row.place {
                Place::State(leaf) => {
                    let leaf = leaf.replace("INSTANCE", &instance);
                    wanted.insert(format!("-/var/lib/clawdbot/{leaf}"));
                }
                place => assert_eq!(place.to_string(), "PLAN", "{role}"),
            }
        }
        if role == Role::policy() {
            wanted.insert("-/run/clawdbot/plan".to_owned());
            wanted.insert("-/var/lib/clawdbot/plan".to_owned());
        }
        let lines = lines_of(&role);
        let found: BTreeSet<String> = all(&lines, "ReadWritePaths").map(str::to_owned).collect();
        assert_eq!(found, wanted, "{role}");
    }
}

#[test]
fn no_service_lacks_a_line_of_the_block_that_confines() {
    for role in roles() {
        let lines = lines_of(&role);
        let sandbox = role.family() == "sandbox";
        for line in COMMON {
            let wanted = match line.who {
                Who::Every => true,
                Who::Ours => !sandbox,
                Who::Sandboxes => sandbox,
            };
            let found = lines.iter().any(|(section, key, value)| {
                section == "Service" && key == line.key && value == line.value
            });
            assert_eq!(found, wanted, "{role}: {}={}", line.key, line.value);
        }
        assert_eq!(one(&lines, "IPAddressDeny"), "any");
        match role.family() {
            "dialer" => {
                let families = one(&lines, "RestrictAddressFamilies");
                assert_eq!(families, "AF_UNIX AF_INET AF_INET6");
            }
            family => {
                // The log's reader has its connection and needs no other socket.
                let families = if family == "journal" {
                    "none"
                } else {
                    "AF_UNIX"
                };
                assert_eq!(one(&lines, "PrivateNetwork"), "yes");
                assert_eq!(one(&lines, "RestrictAddressFamilies"), families);
                assert_eq!(all(&lines, "IPAddressAllow").count(), 0);
            }
        }
        // Who tells callers apart by their ids would see nobody else's.
        let namespace = lines.iter().any(|(_, key, _)| key == "PrivateUsers");
        let by_socket =
            ["agent", "channel", "dialer", "sandbox", "journal"].contains(&role.family());
        assert_eq!(namespace, by_socket, "{role}");
    }
}

#[test]
fn every_line_has_a_reason_and_no_reason_is_left_over() {
    let mut used = BTreeSet::new();
    for file in files() {
        if file.path.ends_with(".conf") {
            continue;
        }
        for (section, key, _) in parse(&file.text) {
            let row = reason(&section, &key);
            let row = row.unwrap_or_else(|| panic!("{}: nobody says why {key}", file.path));
            used.insert((row.section, row.key));
        }
    }
    for row in REASONS {
        assert!(
            used.contains(&(row.section, row.key)),
            "{} is in no unit",
            row.key
        );
        assert!(row.why.len() > 10, "{}", row.key);
    }
    assert_eq!(used.len(), REASONS.len(), "two reasons for one line");
}

#[test]
fn another_model_s_files_are_those_of_a_shipped_one_under_another_name() {
    // What `clawdbotctl apply` relies on.
    let of = |name: &str| -> BTreeMap<String, String> {
        let all = files().into_iter();
        all.filter(|file| {
            file.path.ends_with(".socket") && file.path.contains(&format!("model-{name}"))
        })
        .map(|file| (file.path, file.text))
        .collect()
    };
    let shipped = of("anthropic");
    assert_eq!(shipped.len(), 5);
    let renamed: BTreeMap<String, String> = shipped
        .into_iter()
        .map(|(path, text)| {
            let put = |text: String| {
                text.replace("model-anthropic", "model-openrouter")
                    .replace("model@anthropic", "model@openrouter")
            };
            (put(path), put(text))
        })
        .collect();
    assert_eq!(renamed, of("openrouter"));
}

/// Addresses at the edges of a prefix and just outside of it.
fn around(first: IpAddr, bits: u32) -> Vec<IpAddr> {
    match first {
        IpAddr::V4(ip) => {
            let (first, size) = (ip.to_bits(), u32::MAX.checked_shr(bits).unwrap_or(0));
            let ends = [
                first.wrapping_sub(1),
                first,
                first + size,
                (first + size).wrapping_add(1),
            ];
            ends.map(|ip| Ipv4Addr::from_bits(ip).into()).into()
        }
        IpAddr::V6(ip) => {
            let (first, size) = (ip.to_bits(), u128::MAX.checked_shr(bits).unwrap_or(0));
            let ends = [
                first.wrapping_sub(1),
                first,
                first + size,
                (first + size).wrapping_add(1),
            ];
            ends.map(|ip| Ipv6Addr::from_bits(ip).into()).into()
        }
    }
}

#[test]
fn the_dialer_s_unit_lets_it_reach_what_it_may_dial() {
    use clawdbot_dialer::{Space, judge};
    let permitted = permitted();
    let is_permitted = |address: IpAddr| permitted.iter().any(|prefix| prefix.holds(address));
    // Amazon's and Google's metadata services take a whole block of private space with them.
    let lost = |address: IpAddr| {
        let text = address.to_string();
        text.starts_with("fd00:ec2:") || text.starts_with("fd20:ce:")
    };
    // What lies behind NAT64 is the gateway's to refuse.
    let behind = |address: IpAddr| address.to_string().starts_with("64:ff9b::");
    let mut tried = 0;
    for prefix in &permitted {
        for address in around(prefix.first, prefix.bits) {
            let (space, word) = judge(address);
            if space != Space::Never && !lost(address) {
                assert!(is_permitted(address), "{address}, {word}");
            }
            let out = [
                "metadata",
                "link-local",
                "multicast",
                "broadcast",
                "unspecified",
            ];
            if out.contains(&word) && !behind(address) {
                assert!(!is_permitted(address), "{address}, {word}");
            }
            tried += 1;
        }
    }
    assert!(tried > 400, "{tried}");
    let lines = lines_of(&Role::dialer());
    let listed: BTreeSet<&str> = all(&lines, "IPAddressAllow").collect();
    let wanted: BTreeSet<String> = permitted.iter().map(ToString::to_string).collect();
    assert_eq!(listed, wanted.iter().map(String::as_str).collect());
}

/// What a unit's filter lets through, as the service manager here reads its lines; `None` without one.
fn filter(lines: &Lines, groups: &mut Groups) -> Option<BTreeSet<String>> {
    let mut calls = BTreeSet::new();
    let rows = lines.iter().filter(|(_, key, _)| key == "SystemCallFilter");
    for (_, _, value) in rows {
        let (removes, words) = match value.strip_prefix('~') {
            Some(words) => (true, words),
            None => (false, value.as_str()),
        };
        for word in words.split_whitespace() {
            for call in expand(word, groups)? {
                match removes {
                    true => calls.remove(&call),
                    false => calls.insert(call),
                };
            }
        }
    }
    Some(calls)
}

/// Groups of calls that were asked for before.
type Groups = BTreeMap<String, Vec<String>>;

fn expand(word: &str, groups: &mut Groups) -> Option<Vec<String>> {
    if !word.starts_with('@') {
        return Some(vec![word.to_owned()]);
    }
    if let Some(known) = groups.get(word) {
        return Some(known.clone());
    }
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", word])
        .output()
        .ok()?;
    assert!(output.status.success(), "{word}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut calls = Vec::new();
    let lines = text.lines().skip(1).map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.starts_with('@') {
            true => calls.extend(expand(line, groups)?),
            false => calls.push(line.to_owned()),
        }
    }
    groups.insert(word.to_owned(), calls.clone());
    Some(calls)
}

/// Before its own filter: descriptors, limits, the filter itself.
const START: &[&str] = &[
    "execve",
    "prctl",
    "prlimit64",
    "dup3",
    "close_range",
    "fcntl",
    "openat",
    "socket",
    "connect",
    "seccomp",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
];

#[test]
fn a_unit_s_filter_lets_through_what_the_process_needs() {
    let mut groups = Groups::new();
    for role in system::roles() {
        let Some(permitted) = filter(&lines_of(&role), &mut groups) else {
            println!(
                "SKIPPED a_unit_s_filter_lets_through_what_the_process_needs: there is no systemd-analyze here"
            );
            return;
        };
        // Only the calls of this machine: the tool names no others.
        let own = profile(role.as_str())
            .unwrap()
            .calls(Mode::System, Arch::own().unwrap());
        for call in own.iter().chain(START) {
            assert!(permitted.contains(*call), "{role}: {call}");
        }
        for never in [
            "mount",
            "ptrace",
            "bpf",
            "setuid",
            "keyctl",
            "io_uring_setup",
            "init_module",
        ] {
            assert!(!permitted.contains(never), "{role}: {never}");
        }
    }
}

#[test]
fn a_bad_start_takes_no_unit_down_for_good_and_no_flood_starts_one_without_end() {
    let units = units();
    for (name, lines) in &units {
        let each = accepts(lines) || name.contains("sandbox") || name.contains("journal");
        match name.rsplit_once('.').unwrap().1 {
            "service" if !each => {
                assert_eq!(one(lines, "StartLimitIntervalSec"), "0", "{name}");
                let mut hopeless = all(lines, "RestartPreventExitStatus");
                match name.starts_with("clawdbot-channel@") {
                    // Nobody calls it, so nobody would start it again.
                    true => {
                        assert_eq!(hopeless.next(), None);
                        assert_eq!(one(lines, "Restart"), "on-failure");
                        let flag = one(&units["clawdbot-channel@.path"], "PathExists");
                        assert_eq!(one(lines, "ConditionPathExists"), flag);
                    }
                    false => assert!(
                        matches!(hopeless.next(), Some("78" | "78 217 226 243")),
                        "{name}"
                    ),
                }
            }
            "socket" => {
                assert_eq!(one(lines, "StartLimitIntervalSec"), "0", "{name}");
                if !each {
                    // Far above what a server that refuses can be started.
                    assert_eq!(one(lines, "TriggerLimitIntervalSec"), "10s", "{name}");
                    assert_eq!(one(lines, "TriggerLimitBurst"), "100", "{name}");
                    assert_eq!(one(lines, "FlushPending"), "yes", "{name}");
                }
            }
            "path" => assert_eq!(one(lines, "StartLimitIntervalSec"), "0", "{name}"),
            _ => {}
        }
    }
}

#[test]
fn every_slice_that_a_service_names_is_there() {
    let units = units();
    for role in roles() {
        let lines = lines_of(&role);
        let slice = one(&lines, "Slice");
        assert!(units.contains_key(slice), "{role}: {slice}");
    }
    for (name, lines) in &units {
        if let Some(stem) = name.strip_suffix(".slice") {
            for bound in ["MemoryMax", "TasksMax", "CPUWeight"] {
                assert!(!one(lines, bound).is_empty(), "{name}");
            }
            if let Some((parent, _)) = stem.rsplit_once('-') {
                assert!(units.contains_key(&format!("{parent}.slice")), "{name}");
            }
        }
    }
}

#[test]
fn a_reader_of_the_log_reaches_the_journal_and_nothing_of_ours() {
    let lines = lines_of(&Role::journal());
    assert_eq!(one(&lines, "SupplementaryGroups"), "systemd-journal");
    assert_eq!(
        one(&lines, "BindReadOnlyPaths"),
        "-/var/log/journal/%m -/run/log/journal/%m"
    );
    // State, workspaces and sockets lie below these.
    assert_eq!(one(&lines, "TemporaryFileSystem"), "/var:ro /run:ro");
    let closed: BTreeSet<&str> = all(&lines, "InaccessiblePaths").collect();
    assert!(closed.contains("-/etc/clawdbot"), "{closed:?}");
    for writes in ["ReadWritePaths", "BindPaths", "StateDirectory"] {
        assert_eq!(all(&lines, writes).count(), 0, "{writes}");
    }
    for (name, other) in units() {
        let right = all(&other, "SupplementaryGroups").count();
        assert_eq!(right, usize::from(name.contains("journal@")), "{name}");
    }
}
