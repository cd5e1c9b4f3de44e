//! `docs/hardening.md`: every line of the units with its reason, made from the units themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::addresses::REFUSED;
use crate::reasons::{REASONS, Reason};
use crate::{Generated, files};

/// The part of the page that `cargo xtask units --write` fills in.
const EXPOSURE: (&str, &str) = (
    "<!-- written by cargo xtask units --write -->\n",
    "<!-- end -->\n",
);

const HEAD: &str = "\
# Hardening

Every process of system mode is confined twice: by its unit, from outside and before its first instruction, and by its own
hand ([start-order.md](start-order.md)), which is narrower and knows the process better. Neither relies on the other. This
page says what the unit's part is, line by line; the files are in `systemd/`.

";

const EXPOSURE_HEAD: &str = "\
## Exposure

What `systemd-analyze security --offline=true` says of the files, from 0 (nothing exposed) to 10. `cargo xtask units` measures
it and fails above the limit.

";

const AFTER: &str = "\
What is left in the services at 0.4 is that they see the host's root directory, have UNIX sockets, have the clock's device in
the list that `ProtectClock` makes itself, and no user namespace, because they look at their callers' ids. In the dialer it is
the Internet.

";

const LIMITS: &str = "\
## What cannot be had with systemd 252

The units are the same for all versions from 252 (Debian 12) on; a key that 252 does not know would be a warning in the
journal at each reload.

- **No listening, enforced by the unit.** `SocketBindDeny` needs BPF programs that Debian 12's systemd is built without: it is
  accepted there and does nothing. The dialer's own filter has neither `bind` nor `listen`, and landlock refuses ports where
  the kernel can.
- **Calls of landlock and `memfd_secret`** are in no group of 252, so they are named. Where they were missing, the process
  would report a lower level and go on, or refuse with `sandbox.require: \"full\"`.
- **A user namespace that keeps ids** (`PrivateUsers=identity`) is unknown to 252. Servers that look at their callers' ids go
  without one; a drop-in may add it on 257.
- **A process namespace** (`PrivatePIDs`) is unknown to 252. `ProtectProc` hides the others' processes.
- **A pause that grows** (`RestartSteps`) is unknown to 252: the pause before a restart is always the same.
- **A line in the journal.** 252 says `Couldn't stat device /dev/tpmrm0` on a machine without TPM whenever the broker is
  started, because of its encrypted credential. It means nothing.
- **Limits without their controllers.** `MemoryMax` and `TasksMax` need the control group's memory and pids controllers;
  `clawdbotctl doctor` looks at the groups of what runs and names each limit that the kernel does not enforce.
- **Every line of a user unit that needs mounts or a network namespace** is accepted by 252 for a user and does nothing. So
  `clawdbot.service` for a user's service manager has only lines that hold there, and single-user mode confines itself.

## What a drop-in may change

`systemctl edit UNIT` makes one. `clawdbotctl doctor` compares the running units with the shipped ones and names every
drop-in that takes a confinement away.

| Safe | How |
|---|---|
| more or less memory, tasks, processor | `MemoryMax=`, `TasksMax=`, `CPUQuota=` of a service, or of a slice for all of a kind |
| the front door's address | not by hand: `gateway.bind` and `gateway.port` in the configuration, then `clawdbotctl apply`, which also opens `IPAddressAllow=` of the socket |
| a secret of the source `systemd` | `LoadCredential=ID:PATH` or `LoadCredentialEncrypted=` of `clawdbot-broker.service` |
| fewer destinations for everybody | `IPAddressAllow=` (empty, to clear the list) and then the prefixes that you use, of `clawdbot-dialer.service`; the name server must be among them |
| a name server at a link-local address (`fe80::…`, 169.254.…) | better: a local resolver such as systemd-resolved. Else `IPAddressAllow=` with that one address; where it is a cloud's metadata service as well, you open that |
| longer tool calls, or more of them | `RuntimeMaxSec=` of `clawdbot-sandbox-CLASS@.service`, `MaxConnections=` of its socket |
| a stricter line of any kind | add it; what the process needs is in its profile ([start-order.md](start-order.md)) |

Not safe: another `User=`, `Group=` or `SupplementaryGroups=` (groups are who may call whom), `SocketGroup=` or `SocketMode=`
of an edge, `PrivateUsers=yes` where it is not set (the server would take every caller for nobody and refuse them),
`SystemCallFilter=` with less than the profile needs, `Service=` of a socket, and any line that takes one of these away.
";

/// The page. `present` is what stands there now: its measured part stays.
#[must_use]
pub fn page(present: &str) -> String {
    let lines = lines();
    let mut page = String::from(HEAD);
    page.push_str(
        "## What a process may still do\n\n| Line | Where | What it does for us |\n|---|---|---|\n",
    );
    table(&mut page, &lines, |row| row.confines);
    page.push_str("\nThe dialer's `IPAddressAllow` leaves out:\n\n");
    for refused in REFUSED {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(page, "- `{}`: {}", refused.prefix, refused.what);
    }
    page.push_str(
        "- of IPv6 all but `::1`, `64:ff9b::/96` (IPv4 behind NAT64), `2000::/3` (the Internet) and `fc00::/7` (private)\n\n",
    );
    let _ = write!(
        page,
        "{EXPOSURE_HEAD}{}{}{}\n{AFTER}",
        EXPOSURE.0,
        measured(present),
        EXPOSURE.1
    );
    page.push_str("## How it is run\n\n| Line | Where | Why |\n|---|---|---|\n");
    table(&mut page, &lines, |row| !row.confines);
    page.push('\n');
    page.push_str(LIMITS);
    page
}

fn measured(present: &str) -> &str {
    let rest = present.split_once(EXPOSURE.0).map_or("", |(_, rest)| rest);
    rest.split_once(EXPOSURE.1).map_or("", |(part, _)| part)
}

/// Section and key, then value, then the files with that line.
type Lines = BTreeMap<(String, String), BTreeMap<String, BTreeSet<String>>>;

fn lines() -> Lines {
    let mut lines = Lines::new();
    for file in files() {
        for (section, key, value) in assignments(&file) {
            let values = lines.entry((section, key)).or_default();
            values.entry(value).or_default().insert(shown_name(&file));
        }
    }
    lines
}

/// Section, key and value of each line of a unit. Lines of a list are one.
fn assignments(file: &Generated) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found: Vec<(String, String, String)> = Vec::new();
    if !file.path.starts_with("system/") && !file.path.starts_with("user/") {
        return found;
    }
    for line in file.text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            found.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    found
}

/// `gateway`, `agent@`, `policy-from-gateway.socket`; the user's with a word.
fn shown_name(file: &Generated) -> String {
    let (folder, name) = file.path.split_once('/').unwrap_or(("", &file.path));
    if folder == "user" {
        return "the user unit".into();
    }
    let name = name.strip_prefix("clawdbot-").unwrap_or(name);
    name.strip_suffix(".service").unwrap_or(name).to_owned()
}

fn table(page: &mut String, lines: &Lines, wanted: impl Fn(&Reason) -> bool) {
    let services: BTreeSet<String> = files()
        .iter()
        .filter(|file| file.path.starts_with("system/") && file.path.ends_with(".service"))
        .map(shown_name)
        .collect();
    for row in REASONS.iter().filter(|row| wanted(row)) {
        let Some(values) = lines.get(&(row.section.to_owned(), row.key.to_owned())) else {
            continue;
        };
        let (line, place) = shown(row, values, &services);
        let _ = writeln!(page, "| {line} | {place} | {} |", row.why);
    }
}

/// More different values than this are not listed.
const VALUES: usize = 3;
/// Neither are longer ones.
const LENGTH: usize = 60;

fn shown(
    row: &Reason,
    values: &BTreeMap<String, BTreeSet<String>>,
    services: &BTreeSet<String>,
) -> (String, String) {
    let places: BTreeSet<String> = values.values().flatten().cloned().collect();
    let listed = values.len() <= VALUES && values.keys().all(|value| value.len() <= LENGTH);
    let line = match listed {
        true => values
            .keys()
            .map(|value| format!("`{}={value}`", row.key))
            .collect::<Vec<_>>()
            .join(", "),
        false => format!("`{}=`…", row.key),
    };
    let system: BTreeSet<String> = places
        .iter()
        .filter(|place| *place != "the user unit")
        .cloned()
        .collect();
    let absent: Vec<&str> = services.difference(&system).map(String::as_str).collect();
    let place = match row.section {
        "Service" if absent.is_empty() => "every service".to_owned(),
        "Service" if absent.iter().all(|name| name.starts_with("sandbox")) => {
            "every service but the sandboxes".to_owned()
        }
        "Service" if absent.iter().all(|name| one_each(name)) => {
            "every service but the sandboxes and the log's readers".to_owned()
        }
        "Service" => system.iter().cloned().collect::<Vec<_>>().join(", "),
        "Unit" | "Install" => kinds(&places),
        other => format!("{} units", other.to_lowercase()),
    };
    (line, place)
}

/// Whether a service is of one connection.
fn one_each(name: &str) -> bool {
    name.starts_with("sandbox") || name == "journal@"
}

/// The endings of the names.
fn kinds(places: &BTreeSet<String>) -> String {
    let kind = |place: &String| match place.rsplit_once('.') {
        Some((_, ending)) => format!("{ending} units"),
        None if place.contains(' ') => place.clone(),
        None => "services".into(),
    };
    let kinds: BTreeSet<String> = places.iter().map(kind).collect();
    kinds.into_iter().collect::<Vec<_>>().join(", ")
}
