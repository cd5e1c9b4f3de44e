//! The installed package on machines with systemd: from the start of its target until everything is ready, beside as many
//! sockets and services that do nothing under the same rules; doctor, beside one question to the service manager; memory.

use std::path::Path;
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_rig::Suite;
use clawdbot_service::system::service_unit;
use clawdbot_tests::Scratch;
use clawdbot_tests::kernel::Seen;
use clawdbot_tests::rig::{ALWAYS, Machine, boot};

use crate::figures::{self, Goal, Table};
use crate::{chat, idle, runtime};

/// How often each thing is done, and how long nothing.
pub struct Amounts {
    pub rounds: usize,
    pub messages: usize,
    pub settle: Duration,
    pub idle: Duration,
}

/// Everything of ours that may run or wait, and of its idle twin.
const STOP: &str = "systemctl stop clawdbot.target bare.target 'clawdbot-*.socket' 'clawdbot-*.path' 'bare-*.socket' 'bare-*.path' \
&& systemctl stop 'clawdbot-*.service' 'bare-*.service' && systemctl reset-failed";

/// Units of the same names, rules and order, of a program that does nothing. Their sockets are ours, which are stopped then.
const BARE: &str = r#"
cp /usr/bin/sleep /usr/libexec/clawdbot/bare
cd /usr/lib/systemd/system
for file in clawdbot.target clawdbot-*.service clawdbot-*.socket clawdbot-*.path; do
  sed -E -e '/^(Wants|Sockets|PartOf|Slice|Service|Unit)=/s/clawdbot/bare/' -e 's/^Type=notify/Type=exec/' \
    -e 's,^ExecStart=.*,ExecStart=/usr/libexec/clawdbot/bare infinity,' -e '/^(WatchdogSec|NotifyAccess|Documentation)=/d' \
    "$file" >"/etc/systemd/system/bare${file#clawdbot}"
done
systemctl daemon-reload
"#;

/// Runs words, and says how many microseconds that took, without a program for it.
const TIMED: &str = r#"b=$EPOCHREALTIME; "$@" >/dev/null; s=$?; e=$EPOCHREALTIME; echo $s $((${e/[.,]/} - ${b/[.,]/}))"#;

/// What one command took.
struct Took {
    status: i32,
    wall: Duration,
    /// Processor time of the whole machine meanwhile.
    processor: Duration,
}

/// Times of one kind.
#[derive(Default)]
struct Series {
    wall: Vec<Duration>,
    processor: Vec<Duration>,
}

impl Series {
    fn add(&mut self, took: &Took) {
        self.wall.push(took.wall);
        self.processor.push(took.processor);
    }

    fn rows(&mut self, table: &mut Table, label: &str, limit: Option<Duration>) {
        table.times(label, &mut self.wall, limit.map(Goal::Time));
        let label = format!("{label}: processor time of the machine");
        table.times(&label, &mut self.processor, None);
    }
}

/// The figures of one package, on each system; then what each of its processes costs.
pub fn measure(table: &mut Table, deb: &Path, amounts: &Amounts) -> String {
    size(table, deb);
    let mut details = String::new();
    for suite in Suite::ALL {
        let Some(machine) = boot("bench system", suite) else {
            continue;
        };
        eprintln!("{} …", suite.name());
        machine.groups().prefer().unwrap();
        machine.install(deb).ok();
        machine.ready();
        let system = system(&machine);
        let detail = memory(table, &machine, &system, amounts);
        details.push_str(&format!("\n{system}:\n\n{detail}"));
        doctor(table, &machine, &system, amounts);
        starts(table, &machine, &system, amounts);
        boots(table, machine, suite, &system, amounts);
    }
    details
}

fn size(table: &mut Table, deb: &Path) {
    let packed = std::fs::metadata(deb).unwrap().len() / 1000;
    table.single(
        "package",
        figures::memory(packed),
        packed,
        Some(Goal::Memory(25_000)),
    );
    let mut command = std::process::Command::new("dpkg-deb");
    command.arg("--field").arg(deb).arg("Installed-Size");
    let said = clawdbot_tests::finish(&mut command).ok().stdout;
    let installed = said.trim().parse::<u64>().unwrap() * 1024 / 1000;
    table.single(
        "package, installed",
        figures::memory(installed),
        installed,
        Some(Goal::Memory(70_000)),
    );
}

/// As `Debian 12, systemd 252`.
fn system(machine: &Machine) -> String {
    machine.says(
        ". /etc/os-release; echo \"Debian $VERSION_ID, $(systemctl --version | head -n 1 | cut -d ' ' -f 1,2)\"",
    )
}

fn timed(machine: &Machine, words: &[&str]) -> Took {
    let before = processor(machine);
    let output = machine.run(&[&["bash", "-c", TIMED, "bash"], words].concat());
    let processor = processor(machine).saturating_sub(before);
    let said = output.ok().stdout;
    let (status, micros) = said.trim().split_once(' ').unwrap();
    Took {
        status: status.parse().unwrap(),
        wall: Duration::from_micros(micros.parse().unwrap()),
        processor,
    }
}

/// What all of the machine's processes have used so far, those that ended as well.
fn processor(machine: &Machine) -> Duration {
    let groups = machine.groups().paths().iter();
    let mut used = groups.filter_map(|group| {
        let text = std::fs::read_to_string(group.join("cpuacct.usage")).ok()?;
        text.trim().parse().ok()
    });
    Duration::from_nanos(used.next().unwrap_or_default())
}

/// The target of ours and its idle twin in turn, each from nothing that runs or waits.
fn starts(table: &mut Table, machine: &Machine, system: &str, amounts: &Amounts) {
    machine.sh(BARE).ok();
    let (mut ours, mut bare) = (Series::default(), Series::default());
    for _ in 0..amounts.rounds {
        for (target, series) in [("clawdbot", &mut ours), ("bare", &mut bare)] {
            machine.sh(STOP).ok();
            let took = timed(
                machine,
                &["systemctl", "start", &format!("{target}.target")],
            );
            let units = ALWAYS.map(|role| service_unit(&Role::parse(role).unwrap()));
            let units = units.join(" ").replace("clawdbot", target);
            let active = machine.sh(&format!("systemctl is-active {units}"));
            assert!(took.status == 0 && active.code == Some(0), "{active:?}");
            series.add(&took);
        }
    }
    machine.sh(STOP).ok();
    let label = format!("target to all ready, {system}");
    ours.rows(table, &label, Some(Duration::from_millis(1500)));
    let plain = format!("sockets and services that do nothing, {system}");
    bare.rows(table, &plain, None);
    table.ratio("target ÷ what does nothing", &ours.wall, &bare.wall);
    let label = "the same, processor time";
    table.ratio(label, &ours.processor, &bare.processor);
}

/// A machine with the package and one without it in turn, from systemd's start to what was waited for.
fn boots(table: &mut Table, machine: Machine, suite: Suite, system: &str, amounts: &Amounts) {
    let scratch = Scratch::new();
    let kept = scratch.path().join("kept");
    let nothing = scratch.path().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    machine.sh("rm /etc/systemd/system/bare*").ok();
    machine.keep(&kept).unwrap();
    machine.halt();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..amounts.rounds {
        let machine = Machine::boot_with(suite, &kept);
        machine.ready();
        with.push(since_start(&machine, "clawdbot.target"));
        machine.halt();
        let machine = Machine::boot_with(suite, &nothing);
        without.push(since_start(&machine, "multi-user.target"));
        machine.halt();
    }
    table.times(&format!("boot to all ready, {system}"), &mut with, None);
    let plain = format!("boot without the package, {system}");
    table.times(&plain, &mut without, None);
}

fn since_start(machine: &Machine, unit: &str) -> Duration {
    let micros = |words: &str| {
        let said = machine.says(&format!("systemctl show --value --property={words}"));
        Duration::from_micros(said.parse().unwrap())
    };
    let reached = micros(&format!("ActiveEnterTimestampMonotonic {unit}"));
    reached.saturating_sub(micros("UserspaceTimestampMonotonic"))
}

fn doctor(table: &mut Table, machine: &Machine, system: &str, amounts: &Amounts) {
    let (mut doctor, mut plain) = (Series::default(), Series::default());
    let ask = [
        "systemctl",
        "show",
        "--property=Id,ActiveState,MainPID",
        "clawdbot-*.service",
        "clawdbot-*.socket",
    ];
    for _ in 0..amounts.rounds {
        let took = timed(machine, &["clawdbotctl", "doctor"]);
        assert!(matches!(took.status, 0 | 2), "{}", took.status);
        doctor.add(&took);
        plain.add(&timed(machine, &ask));
    }
    let label = format!("clawdbotctl doctor, {system}");
    doctor.rows(table, &label, Some(Duration::from_millis(300)));
    plain.rows(table, &format!("systemctl show, {system}"), None);
    table.ratio("doctor ÷ systemctl show", &doctor.wall, &plain.wall);
}

fn memory(table: &mut Table, machine: &Machine, system: &str, amounts: &Amounts) -> String {
    std::thread::sleep(amounts.settle);
    let idle = idle::watch(&processes(machine), amounts.idle);
    let label = format!("{} of all units, idle, {system}", idle.measure());
    let goal = idle.exact().then_some(Goal::Memory(50_000));
    table.single(&label, figures::memory(idle.total()), idle.total(), goal);
    let mut talk = machine.talk();
    let mut messages = runtime().block_on(async {
        let mut took = Vec::new();
        for number in 0..=amounts.messages {
            took.push(chat::one(&mut talk, &format!("bench-{number}")).await);
        }
        took
    });
    let after = idle::watch(&processes(machine), Duration::ZERO);
    let first = messages.remove(0);
    let label = format!("first message, starts the model, {system}");
    table.times(&label, &mut [first], None);
    table.times(&format!("message to answer, {system}"), &mut messages, None);
    let label = format!(
        "{} after {} messages, {system}",
        after.measure(),
        amounts.messages
    );
    table.single(&label, figures::memory(after.total()), after.total(), None);
    idle.table()
}

/// The processes of all of our units, by the unit.
fn processes(machine: &Machine) -> Vec<(String, Seen)> {
    let all = machine.groups().processes().into_iter();
    let mut found: Vec<(String, Seen)> = all
        .filter_map(|pid| {
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            let path = groups
                .lines()
                .find(|line| line.contains("/clawdbot.slice/"))?;
            let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
            let unit = unit
                .trim_end_matches(".service")
                .trim_start_matches("clawdbot-");
            Some((unit.to_owned(), Seen(u32::try_from(pid).ok()?)))
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}
