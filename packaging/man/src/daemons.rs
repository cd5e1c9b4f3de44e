//! A page for each daemon, from the tables of processes and edges and from the profiles: what it is, whom it runs as, what
//! it holds and reaches, and which units are its.

use std::collections::BTreeSet;

use clawdbot_confine::profile::{Mode, profile};
use clawdbot_identity::Role;
use clawdbot_proto::edges::{EDGES, PROCESSES, Process, Starts};
use clawdbot_service::system;

use crate::File;
use crate::roff::Page;

/// The launcher of tool calls is on no edge: it talks to whoever connected, and ends.
const SANDBOX: Process = Process {
    role: "sandbox",
    binary: "clawdbot-sandbox",
    starts: Starts::Demand,
    job: "runs one tool call: applies the sandbox, then becomes the tool",
    holds: "one workspace",
    network: "none",
};

/// Becomes any of the others, and is on the list of none.
const PROBE: &str = "clawdbot-probe";

/// A program, and its rows of the table: an agent has one for each class.
struct Daemon {
    binary: &'static str,
    rows: Vec<&'static Process>,
}

fn daemons() -> Vec<Daemon> {
    let mut daemons: Vec<Daemon> = Vec::new();
    for row in PROCESSES.iter().chain([&SANDBOX]) {
        if row.starts == Starts::Person {
            continue;
        }
        match daemons.iter_mut().find(|known| known.binary == row.binary) {
            Some(known) => known.rows.push(row),
            None => daemons.push(Daemon {
                binary: row.binary,
                rows: vec![row],
            }),
        }
    }
    daemons
}

/// The names of all pages.
pub fn names() -> impl Iterator<Item = &'static str> {
    let daemons = daemons().into_iter().map(|daemon| daemon.binary);
    daemons.chain([PROBE])
}

pub fn pages(date: &str) -> Vec<File> {
    let write = |daemon: Daemon| File {
        path: format!("man8/{}.8", daemon.binary),
        text: page(&daemon, date),
    };
    let mut pages: Vec<File> = daemons().into_iter().map(write).collect();
    pages.push(File {
        path: format!("man8/{PROBE}.8"),
        text: probe(date),
    });
    pages
}

fn probe(date: &str) -> String {
    let job = "starts as another process does and tries to break out";
    let mut page = Page::new(PROBE, 8, job, date);
    page.section("SYNOPSIS")
        .paragraph(&format!("`/usr/libexec/clawdbot/{PROBE}`"));
    page.section("DESCRIPTION").paragraph(
        "Plays a process of Clawdbot that somebody has taken over. It is started as that process is and confines itself by the \
         same code, and then makes attempts at what the process must not reach instead of doing its work. What came of each \
         it tells the doctor. Only `clawdbotctl doctor --probe` starts it; it never runs by itself, holds nothing and \
         is called by nobody.",
    );
    page.section("EXIT STATUS");
    page.item("0", "It came to its end.");
    page.item(
        "1",
        "It was not told what to try, or could not tell what came of it.",
    );
    page.item("78", "It could not confine itself, and tried nothing.");
    see_also(&mut page, PROBE);
    page.text().to_owned()
}

/// All pages but this one.
fn see_also(page: &mut Page, own: &str) {
    let mut beside = vec![
        "clawdbot(1)".to_owned(),
        "clawdbotctl(1)".into(),
        "clawdbot.json(5)".into(),
    ];
    let others = names().filter(|name| *name != own);
    beside.extend(others.map(|name| format!("{name}(8)")));
    page.see_also(&beside);
}

fn page(daemon: &Daemon, date: &str) -> String {
    let roles = roles(daemon);
    let (first, rest) = match daemon.rows.as_slice() {
        [first, rest @ ..] => (*first, rest),
        [] => return String::new(),
    };
    let mut page = Page::new(daemon.binary, 8, first.job, date);
    page.section("SYNOPSIS");
    page.paragraph(&format!("`/usr/libexec/clawdbot/{}`", daemon.binary));
    page.section("DESCRIPTION").paragraph(&format!(
        "One of the processes of Clawdbot. {} {}",
        confined(first),
        starts(first.starts)
    ));
    for row in std::iter::once(first).chain(rest.iter().copied()) {
        page.item(row.role, &sentence(row.job));
    }
    page.section("WHAT IT CAN REACH");
    page.item("Holds", &sentence(first.holds));
    page.item("Network", &sentence(first.network));
    let users: Vec<String> = roles.iter().map(system::user_of).collect();
    if !users.is_empty() {
        page.item("Runs as", &format!("`{}`.", users.join("`, `")));
    }
    files(&mut page, daemon);
    edges(&mut page, daemon, &roles);
    page.section("EXIT STATUS");
    page.item("0", "It was told to stop, or has nothing to do any more.");
    let (failed, refused) = ends(first, &roles);
    page.item("1", &format!("It failed. {failed}"));
    page.item(
        "78",
        &format!(
            "What it needs is missing or wrong, so that it would have to work unconfined or on something broken; the journal \
             says what to do. {refused}"
        ),
    );
    see_also(&mut page, daemon.binary);
    page.text().to_owned()
}

/// Who starts it again after a failure, and after a refusal that lasts until somebody has mended what is wrong: by the
/// settings of its unit.
fn ends(row: &Process, roles: &[Role]) -> (String, String) {
    const NEXT: &str = "The next connection starts another.";
    let Some(unit) = roles.first().map(unit) else {
        return match row.starts {
            Starts::Itself => (
                "`clawdbot up` ends with it; as a service of a user it is started again.".into(),
                "`clawdbot up` ends with it, also as a service of a user.".into(),
            ),
            _ => (NEXT.into(), NEXT.into()),
        };
    };
    let set = |key: &str| {
        let mut lines = unit.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    if set("Restart").is_none() {
        return (NEXT.into(), NEXT.into());
    }
    let pause = set("RestartSec").unwrap_or_default();
    let again = "It is started again.".to_owned();
    let last = set("RestartPreventExitStatus").unwrap_or_default();
    let who = match last.split(' ').any(|status| status == "78") {
        true => "The service manager starts it again only when the next caller connects",
        false => &format!("The service manager starts it again every {pause}"),
    };
    let refused = format!(
        "{who}, so that nothing has to be done after the repair. `clawdbot up` does not start one again that was never ready."
    );
    (again, refused)
}

/// The text of the unit that starts a process.
fn unit(role: &Role) -> String {
    let name = system::service_unit(role);
    let template = match name.split_once('@') {
        Some((before, _)) => format!("system/{before}@.service"),
        None => format!("system/{name}"),
    };
    let mut files = clawdbot_units::files().into_iter();
    let found = files.find(|file| file.path == template);
    found.map(|file| file.text).unwrap_or_default()
}

fn confined(row: &Process) -> &'static str {
    match row.role == Role::journal().as_str() {
        true => {
            "Its unit confines it: it becomes journalctl, with arguments that nobody can add to."
        }
        false => {
            "It confines itself before it reads its first byte, and refuses to work where it cannot."
        }
    }
}

/// Whom the program is on edges, as installed.
fn roles(daemon: &Daemon) -> Vec<Role> {
    let each = system::per_connection().into_iter();
    let each: Vec<Role> = each
        .map(|(server, _)| server)
        .filter(|server| daemon.rows.iter().any(|row| row.role == server.family()))
        .collect();
    if !each.is_empty() {
        return each;
    }
    let is_its = |role: &Role| {
        daemon
            .rows
            .iter()
            .any(|row| match row.role.strip_suffix("NAME") {
                Some(family) => role.as_str().starts_with(family),
                None => role.as_str() == row.role,
            })
    };
    system::roles().into_iter().filter(is_its).collect()
}

fn starts(starts: Starts) -> &'static str {
    match starts {
        Starts::Always => "It always runs.",
        Starts::Plan => "It runs when the configuration asks for it.",
        Starts::Demand => "It runs for one request of another process and ends.",
        Starts::Itself => {
            "It is `clawdbot up`: it starts the others, watches them and starts them again. The installed services do not use \
             it, since systemd does that."
        }
        Starts::Person => "Somebody starts it.",
    }
}

fn files(page: &mut Page, daemon: &Daemon) {
    let Some(found) = daemon.rows.first().and_then(|row| profile(row.role)) else {
        return;
    };
    let rows: BTreeSet<String> = found
        .files(Mode::System)
        .map(|row| format!("{} {}", row.access.as_str(), row.place))
        .collect();
    page.section("FILES");
    if rows.is_empty() {
        page.paragraph("It can open no file.");
        return;
    }
    page.paragraph(
        "All that landlock lets it reach, besides what it inherits. `STATE` is /var/lib/clawdbot, `CONFIG` /etc/clawdbot, \
         `EDGES` /run/clawdbot, `WORKSPACE` /var/lib/clawdbot-work.",
    );
    for row in rows {
        let (access, place) = row.split_once(' ').unwrap_or((&row, ""));
        page.item(place, access);
    }
}

fn edges(page: &mut Page, daemon: &Daemon, roles: &[Role]) {
    page.section("UNITS");
    if roles.is_empty() {
        page.paragraph("None: only `clawdbot up` starts it.");
        return;
    }
    let units: BTreeSet<String> = roles.iter().map(system::service_unit).collect();
    page.paragraph(&format!("`{}`.", Vec::from_iter(units).join("`, `")));
    let mut pairs = system::per_connection();
    pairs.retain(|(server, _)| roles.contains(server));
    for role in roles {
        let clients = system::clients_of(role).into_iter();
        pairs.extend(clients.map(|client| (role.clone(), client)));
    }
    if !pairs.is_empty() {
        page.paragraph(
            "Whoever calls it has a socket of its own, which nobody else can open: that is who the caller is.",
        );
    }
    for (role, client) in &pairs {
        let path = system::socket_path(role, client);
        page.item(
            &system::socket_unit(role, client),
            &format!(
                "{}, group `{}`",
                path.display(),
                system::socket_group(client)
            ),
        );
    }
    let calls: Vec<_> = EDGES
        .iter()
        .filter(|edge| daemon.rows.iter().any(|row| is(edge.client, row.role)))
        .collect();
    page.section("CALLS");
    if calls.is_empty() {
        page.paragraph("It calls nobody.");
    }
    for edge in calls {
        let methods = edge.methods.iter().map(|method| {
            let name = method.path.trim_start_matches('/');
            name.rsplit('.').next().unwrap_or(name).to_owned()
        });
        page.item(edge.server, &methods.collect::<Vec<_>>().join(", "));
    }
}

/// Whether a row of the process table is meant by a pattern of the edge table.
fn is(pattern: &str, role: &str) -> bool {
    clawdbot_proto::edges::matches(pattern, &role.replace("NAME", "x"))
}

fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    let first = chars.next().map(char::to_uppercase);
    let first: String = first.into_iter().flatten().collect();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_page_with_its_units_and_callers() {
        let pages = pages("2026-01-31");
        let page = |name: &str| {
            let path = format!("man8/clawdbot-{name}.8");
            let found = pages.iter().find(|page| page.path == path);
            found
                .unwrap_or_else(|| panic!("{path}"))
                .text
                .replace("\\-", "-")
                // Where a line may be broken.
                .replace("\\:", "")
        };
        for row in PROCESSES.iter().filter(|row| row.starts != Starts::Person) {
            page(row.binary.trim_start_matches("clawdbot-"));
        }
        let policy = page("policy");
        for part in [
            "clawdbot-policy.service",
            "clawdbot-policy-from-gateway.socket",
            "/run/clawdbot/operator/policy.sock, group \\fBclawdbot\\fR",
            "STATE/audit",
        ] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        let agent = page("agent");
        assert!(
            agent.contains("clawdbot-agent@main.service") && agent.contains("\\fBagent-guest\\fR")
        );
        assert!(page("model").contains("clawdbot-model@anthropic.service"));
        assert!(page("sandbox").contains("clawdbot-sandbox-main@.service"));
        let journal = page("journal");
        for part in [
            "clawdbot-journal@.service",
            "clawdbot-journal.socket",
            "/run/clawdbot/operator/journal.sock, group \\fBclawdbot\\fR",
        ] {
            assert!(journal.contains(part), "{part}: {journal}");
        }
        assert!(page("supervisor").contains("None: only"));
        // Who starts it again is as its unit says.
        let refusal = |name: &str| {
            let text = page(name).replace('\n', " ");
            let (_, rest) = text.split_once("\\fB78\\fR").unwrap();
            rest.to_owned()
        };
        for (name, wanted) in [
            ("policy", "only when the next caller connects"),
            ("model", "only when the next caller connects"),
            ("channel-telegram", "starts it again every 5s"),
            ("sandbox", "The next connection starts another"),
            ("journal", "The next connection starts another"),
        ] {
            assert!(refusal(name).contains(wanted), "{name}: {}", refusal(name));
        }
        assert!(page("executor").contains("\\fBpolicy\\fR\n"));
        assert!(page("probe").contains("doctor"));
    }
}
