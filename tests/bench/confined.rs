//! What the confinement costs: the same programs on this kernel as it is and on one that has nothing to confine them with,
//! in turn. Each side is a worker, which is this program again below `clawdbot-simulate`: both have a filter around them, and
//! only what it answers differs.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use clawdbot_identity::{Class, Role};
use clawdbot_proto::v1;
use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_service::Edge;
use clawdbot_tests::solo::Solo;
use clawdbot_tests::{Conversation, Scratch, binary};
use tokio::runtime::Runtime;

use crate::figures::{Goal, Table};
use crate::product::{Home, Running};
use crate::{chat, runtime};

/// Makes of this program a worker.
pub const WORKER: &str = "--worker";
/// Calls between two turns of the other side.
const CALLS: usize = 50;
/// The one whose start is taken: it waits for nobody before it is ready.
const PROCESS: &str = "broker";
/// The one that is called.
const SERVER: &str = "policy";

/// How often each thing is done on each side.
pub struct Amounts {
    pub starts: usize,
    pub processes: usize,
    pub messages: usize,
    pub calls: usize,
}

/// What a worker does when it is told to.
struct Figure {
    word: &'static str,
    label: &'static str,
    /// How it is called in a sentence.
    of: &'static str,
    count: fn(&Amounts) -> usize,
    goal: Option<Goal>,
}

const FIGURES: [Figure; 4] = [
    Figure {
        word: "start",
        label: "start to ready, all processes",
        of: "the start of all processes",
        count: |amounts| amounts.starts,
        goal: None,
    },
    Figure {
        word: "process",
        label: "start to ready, one process (broker)",
        of: "the start of a process",
        count: |amounts| amounts.processes,
        goal: Some(Goal::Time(Duration::from_millis(5))),
    },
    Figure {
        word: "message",
        label: "message to answer, over gateway.sock",
        of: "a message",
        count: |amounts| amounts.messages,
        goal: Some(Goal::NotMeasurable),
    },
    Figure {
        word: "calls",
        label: "call of a process and its answer",
        of: "a call",
        count: |amounts| amounts.calls / CALLS,
        goal: None,
    },
];

/// Adds the rows.
pub fn measure(table: &mut Table, amounts: &Amounts, user: Option<u32>) {
    eprintln!("with and without confinement …");
    let mut with = Side::start("complete", user);
    let mut without = Side::start("no-landlock,no-seccomp,no-userns", user);
    let levels = [with.say("level"), without.say("level")];
    assert!(
        levels[0] != levels[1] && levels[1] == "limits",
        "the two sides are confined alike: {levels:?}"
    );
    for figure in FIGURES {
        let (mut confined, mut free) = (Vec::new(), Vec::new());
        for round in 0..(figure.count)(amounts) {
            // Whoever comes second finds warmer caches.
            if round % 2 == 0 {
                confined.extend(with.times(figure.word));
                free.extend(without.times(figure.word));
            } else {
                free.extend(without.times(figure.word));
                confined.extend(with.times(figure.word));
            }
        }
        let row = |side: &str| format!("{}, {side}", figure.label);
        table.times(&row("confined"), &mut confined, None);
        table.times(&row("not confined"), &mut free, None);
        let label = format!("confinement adds to {}", figure.of);
        table.difference(&label, &confined, &free, figure.goal);
    }
}

/// A worker and its pipes.
struct Side {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Side {
    fn start(kernel: &str, user: Option<u32>) -> Self {
        let mut command = Command::new(binary("clawdbot-simulate"));
        command.args([kernel, "--"]);
        command.arg(std::env::current_exe().unwrap()).arg(WORKER);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn say(&mut self, word: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the worker ended");
        line.trim().to_owned()
    }

    fn times(&mut self, word: &str) -> Vec<Duration> {
        let line = self.say(word);
        let numbers = line.split(' ').map(|number| number.parse().unwrap());
        numbers.map(Duration::from_nanos).collect()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.input.take());
        let _gone = self.child.wait();
    }
}

/// The worker: does what a line says and answers with nanoseconds, until there is no line.
pub fn work() {
    let (home, runtime) = (Home::new(None), runtime());
    // Of the first start the state remains.
    home.up().stop();
    let running = home.up();
    let mut talk = runtime.block_on(async { Conversation::at(&home.state()) });
    let mut callee = Callee::start(&runtime);
    let second = Home::new(None);
    second.up().stop();
    let mut number = 0;
    for line in std::io::stdin().lines() {
        number += 1;
        let took = match line.unwrap().as_str() {
            "level" => {
                println!("{}", running.levels.join(" "));
                continue;
            }
            "start" => vec![up_and_down(&second)],
            "process" => vec![start_one()],
            "message" => vec![runtime.block_on(chat::one(&mut talk, &format!("m-{number}")))],
            "calls" => callee.calls(&runtime),
            word => panic!("{word}?"),
        };
        let mut answer = String::new();
        for one in took {
            // Writing to a String cannot fail.
            let _ = write!(answer, "{} ", one.as_nanos());
        }
        println!("{}", answer.trim_end());
    }
    end(running);
}

fn end(running: Running) {
    running.stop();
}

fn up_and_down(home: &Home) -> Duration {
    let running = home.up();
    let took = running.took;
    running.stop();
    took
}

/// One process, with state that is there.
fn start_one() -> Duration {
    let scratch = Scratch::new();
    scratch.configure("{}");
    let began = Instant::now();
    let mut process = Solo::start(PROCESS, &scratch);
    process.done();
    process.notified("READY=1");
    began.elapsed()
}

/// A process that is called.
struct Callee {
    client: SessionsClient<Edge>,
    _process: Solo,
    _scratch: Scratch,
}

impl Callee {
    fn start(runtime: &Runtime) -> Self {
        let scratch = Scratch::new();
        scratch.configure("{}");
        let mut process = Solo::start(SERVER, &scratch);
        let end = process.serves("agent-main");
        process.done();
        process.notified("READY=1");
        let _within = runtime.enter();
        let (edge, handover) = Edge::handed(Role::agent(Class::Main), Role::policy());
        handover.give(end);
        Self {
            client: SessionsClient::new(edge),
            _process: process,
            _scratch: scratch,
        }
    }

    /// Calls with a handle that is none: answered at once, and nothing is written down about it.
    fn calls(&mut self, runtime: &Runtime) -> Vec<Duration> {
        let request = v1::ResolveRequest {
            handle: "no handle".into(),
        };
        let one = |client: &mut SessionsClient<Edge>| {
            let began = Instant::now();
            let answer = runtime.block_on(client.resolve(request.clone()));
            let code = answer.map_err(|status| status.code()).err();
            assert_eq!(code, Some(tonic::Code::InvalidArgument));
            began.elapsed()
        };
        (0..CALLS).map(|_| one(&mut self.client)).collect()
    }
}
