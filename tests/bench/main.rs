//! Takes the figures of a build: starts, memory, wake-ups, an edge's round trip, a decision, a message from end to end, each beside
//! something plain that was measured in the same run. Prints a table and asserts nothing: figures depend on the machine.

mod chat;
mod client;
mod confined;
mod decisions;
mod edge;
mod figures;
mod idle;
mod product;
mod programs;
#[cfg(target_os = "linux")]
mod system;
mod turns;

use figures::{Goal, Table};
use std::time::Duration;

use crate::product::Home;

/// How often each thing is done.
struct Amounts {
    starts: usize,
    commands: usize,
    calls: usize,
    messages: usize,
    settle: Duration,
    idle: Duration,
    turns: turns::Amounts,
    confined: confined::Amounts,
    #[cfg(target_os = "linux")]
    system: system::Amounts,
}

const THOROUGH: Amounts = Amounts {
    starts: 20,
    commands: 50,
    calls: 20_000,
    messages: 200,
    settle: Duration::from_secs(3),
    idle: Duration::from_secs(20),
    turns: turns::Amounts {
        turns: 1000,
        history: 500,
        wide: 12_800,
        growth: 10_048,
    },
    confined: confined::Amounts {
        starts: 20,
        processes: 100,
        messages: 500,
        calls: 5_000,
    },
    #[cfg(target_os = "linux")]
    system: system::Amounts {
        rounds: 10,
        messages: 100,
        settle: Duration::from_secs(60),
        idle: Duration::from_secs(20),
    },
};

const QUICK: Amounts = Amounts {
    starts: 3,
    commands: 5,
    calls: 1_000,
    messages: 10,
    settle: Duration::from_secs(1),
    idle: Duration::from_secs(2),
    turns: turns::Amounts {
        turns: 20,
        history: 30,
        wide: 256,
        growth: 256,
    },
    confined: confined::Amounts {
        starts: 2,
        processes: 5,
        messages: 10,
        calls: 100,
    },
    #[cfg(target_os = "linux")]
    system: system::Amounts {
        rounds: 2,
        messages: 10,
        settle: Duration::from_secs(1),
        idle: Duration::from_secs(2),
    },
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == confined::WORKER) {
        return confined::work();
    }
    if let Some(at) = arguments.iter().position(|word| word == decisions::WORKER) {
        return decisions::work(arguments[at + 1].parse().unwrap());
    }
    let amounts = if arguments.iter().any(|word| word == "--quick") {
        &QUICK
    } else {
        &THOROUGH
    };
    let user = arguments
        .iter()
        .position(|word| word == "--user")
        .map(|at| arguments[at + 1].parse().unwrap());
    let mut table = Table::new();
    #[cfg(target_os = "linux")]
    if let Some(at) = arguments.iter().position(|word| word == "--system") {
        let deb = std::path::Path::new(&arguments[at + 1]);
        let detail = system::measure(&mut table, deb, &amounts.system);
        println!("{}\n\n{table}{detail}", figures::machine());
        return;
    }
    if arguments.iter().any(|word| word == "--turn") {
        turns::alone(&mut table, &amounts.turns, user);
        println!("{}\n\n{table}", figures::machine());
        return;
    }
    starts(&mut table, amounts, user);
    commands(&mut table, amounts);
    edges(&mut table, amounts);
    decisions::measure(&mut table, amounts.calls / 5, user);
    confined::measure(&mut table, &amounts.confined, user);
    let detail = running(&mut table, amounts, user);
    turns::measure(&mut table, &amounts.turns, user);
    channel(&mut table, amounts, user);
    println!("{}\n\n{table}\n{detail}", figures::machine());
}

/// For clients, as small as the processes' own.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A start, a stop and plain programs in turn, so that all meet the same load.
fn starts(table: &mut Table, amounts: &Amounts, user: Option<u32>) {
    eprintln!("starts …");
    let home = Home::new(user);
    let (mut first, mut again, mut stop) = (Vec::new(), Vec::new(), Vec::new());
    let (mut nine, mut python) = (Vec::new(), Vec::new());
    for _ in 0..amounts.starts {
        let fresh = Home::new(user).up();
        first.push(fresh.took);
        stop.push(fresh.stop());
        nine.push(programs::side_by_side(9, "/bin/true"));
        let running = home.up();
        again.push(running.took);
        stop.push(running.stop());
        python.extend(programs::run("python3", &["-c", "pass"]));
    }
    let goal = Goal::Time(Duration::from_millis(150));
    table.times("start to ready, state is there", &mut again, Some(goal));
    table.times("start to ready, empty home", &mut first, Some(goal));
    table.times("nine times /bin/true, side by side", &mut nine, None);
    table.ratio("start ÷ nine times /bin/true", &again, &nine);
    if !python.is_empty() {
        table.times("python3 -c pass", &mut python, None);
        table.ratio("start ÷ python3 -c pass", &again, &python);
    }
    table.times("SIGTERM to the last process gone", &mut stop, None);
}

fn commands(table: &mut Table, amounts: &Amounts) {
    eprintln!("commands …");
    let clawdbot = clawdbot_tests::binary("clawdbot");
    let (mut help, mut version, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..amounts.commands {
        help.extend(programs::run(&clawdbot, &["--help"]));
        version.extend(programs::run(&clawdbot, &["--version"]));
        plain.extend(programs::run("/bin/true", &[]));
    }
    table.times(
        "clawdbot --help",
        &mut help,
        Some(Goal::Time(Duration::from_millis(10))),
    );
    table.times("clawdbot --version", &mut version, None);
    table.times("/bin/true", &mut plain, None);
    table.ratio("clawdbot --help ÷ /bin/true", &help, &plain);
}

fn edges(table: &mut Table, amounts: &Amounts) {
    eprintln!("edges …");
    let mut bare = edge::bare(amounts.calls);
    let mut call = edge::call(amounts.calls);
    table.times(
        "edge round trip",
        &mut call,
        Some(Goal::Time(Duration::from_micros(100))),
    );
    table.times("bytes over a socket pair and back", &mut bare, None);
    table.ratio("edge round trip ÷ bare socket pair", &call, &bare);
}

/// Memory with a chat channel that polls and a model that is not the built-in one.
fn channel(table: &mut Table, amounts: &Amounts, user: Option<u32>) {
    eprintln!("idle with a channel …");
    let (home, telegram) = turns::with_telegram(user);
    let running = home.up();
    telegram.wait_for_poll();
    std::thread::sleep(amounts.settle);
    let idle = idle::watch(&running.processes, Duration::ZERO);
    running.stop();
    let goal = idle.exact().then_some(Goal::Memory(40_000));
    table.single(
        &format!(
            "{} of all processes with Telegram and one model, idle",
            idle.measure()
        ),
        figures::memory(idle.total()),
        idle.total(),
        goal,
    );
}

/// What one run costs while nothing happens, then what a message takes.
fn running(table: &mut Table, amounts: &Amounts, user: Option<u32>) -> String {
    let home = Home::new(user);
    let running = home.up();
    std::thread::sleep(amounts.settle);
    eprintln!("idle for {} s …", amounts.idle.as_secs());
    let idle = idle::watch(&running.processes, amounts.idle);
    eprintln!("messages …");
    let mut messages = chat::messages(&home.state(), amounts.messages);
    let after = idle::watch(&running.processes, Duration::ZERO);
    running.stop();

    table.times("message to answer, over gateway.sock", &mut messages, None);
    let goal = idle.exact().then_some(Goal::Memory(35_000));
    table.single(
        &format!("{} of all processes, idle", idle.measure()),
        figures::memory(idle.total()),
        idle.total(),
        goal,
    );
    let label = format!("{} after {} messages", after.measure(), amounts.messages);
    table.single(&label, figures::memory(after.total()), after.total(), None);
    idle.table()
}
