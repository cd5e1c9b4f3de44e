//! What a decision takes with many pairings and many rules: as its caller sees it over the edge, and of policy's own
//! processor time, with the edge and without: less what calls take that are refused as soon as they are read. Policy runs
//! by itself, as the supervisor starts it; a worker, which is this program again, plays channel and executor, since policy
//! does not run as root.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_proto::v1::admit_sender_reply::Outcome;
use clawdbot_proto::v1::channels_client::ChannelsClient;
use clawdbot_proto::v1::decide_reply;
use clawdbot_proto::v1::tools_client::ToolsClient;
use clawdbot_service::Edge;
use clawdbot_tests::Scratch;
use clawdbot_tests::solo::Solo;
use serde_json::json;

use crate::figures::{Goal, Table};
use crate::runtime;

/// Makes of this program the worker; the number of calls follows.
pub const WORKER: &str = "--decisions";
/// Between two calls, so that the edge's rate does not become the figure.
const PACE: Duration = Duration::from_millis(3);
/// Calls whose processor time is one figure.
const GROUP: usize = 100;
const PAIRINGS: usize = 10_000;
const RULES: usize = 200;

/// Adds the rows.
pub fn measure(table: &mut Table, calls: usize, user: Option<u32>) {
    eprintln!("decisions …");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([WORKER, &calls.to_string()]);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the worker ended: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut series: BTreeMap<&str, Vec<Duration>> = text
        .lines()
        .filter_map(|line| {
            let (word, numbers) = line.split_once(' ')?;
            let numbers = numbers.split(' ').map(|number| number.parse().unwrap());
            Some((word, numbers.map(Duration::from_nanos).collect()))
        })
        .collect();
    for (word, label) in [
        ("message", "is a message let in"),
        ("call", "may a tool be called"),
    ] {
        let label = format!("decision, {label}: {PAIRINGS} pairings, {RULES} rules");
        let mut calls = series.remove(word).unwrap();
        let goal = Goal::Time(Duration::from_micros(200));
        table.times(
            &format!("{label}, as seen by the caller"),
            &mut calls,
            Some(goal),
        );
        let mut late = vec![calls[calls.len() * 99 / 100]];
        let goal = Goal::Time(Duration::from_millis(1));
        table.times(
            &format!("{label}, one of a hundred callers waits"),
            &mut late,
            Some(goal),
        );
        // The processor sleeps and the caches are somebody else's, as for a message that comes alone.
        let mut rested = series.remove(format!("{word}-rested").as_str()).unwrap();
        table.times(
            &format!("{label}, as seen by a caller after {PACE:?} without any"),
            &mut rested,
            None,
        );
        let mut own = series.remove(format!("{word}-own").as_str()).unwrap();
        table.times(
            &format!("{label}, processor time of policy with all of the edge"),
            &mut own,
            None,
        );
        let mut alone = series.remove(format!("{word}-alone").as_str()).unwrap();
        let goal = Goal::Time(Duration::from_micros(50));
        table.times(
            &format!("{label}, processor time of policy without the edge"),
            &mut alone,
            Some(goal),
        );
    }
}

/// The worker: measures and prints nanoseconds, a line for each series.
pub fn work(calls: usize) {
    let scratch = Scratch::new();
    scratch.configure(&configuration());
    let pairing = scratch.state().join("pairing");
    std::fs::create_dir(&pairing).unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&pairing, mode(0o700)).unwrap();
    std::fs::write(pairing.join("people.json"), people()).unwrap();
    std::fs::set_permissions(pairing.join("people.json"), mode(0o600)).unwrap();

    let mut policy = Solo::start("policy", &scratch);
    // Who is not there is not waited for.
    drop((policy.calls("broker"), policy.calls("dialer")));
    let (channel, executor) = (policy.serves("channel-telegram"), policy.serves("executor"));
    policy.done();
    policy.notified("READY=1");
    let runtime = runtime();
    let _within = runtime.enter();
    let role = |text| Role::parse(text).unwrap();
    let (edge, messages) = Edge::handed(role("channel-telegram"), role("policy"));
    messages.give(channel);
    let mut admits = ChannelsClient::new(edge);
    let mut bare = admits.clone();
    let (edge, tools) = Edge::handed(role("executor"), role("policy"));
    tools.give(executor);
    let mut decides = ToolsClient::new(edge);

    let mut handle = String::new();
    let mut number = 0;
    let message = async || {
        number += 1;
        let request = admit(number);
        let began = Instant::now();
        let reply = admits.admit(request).await.unwrap().into_inner();
        let took = began.elapsed();
        let Some(Outcome::Admission(admission)) = reply.outcome else {
            panic!("{reply:?}");
        };
        handle = admission.handle;
        took
    };
    let nothing = async || {
        let request = v1::AdmitSenderRequest {
            event_id: String::new(),
            ..admit(1)
        };
        assert!(bare.admit(request).await.is_err());
    };
    series(&runtime, &policy, calls, message, nothing).print("message");

    let mut bare = decides.clone();
    let mut number = 0;
    let call = async || {
        number += 1;
        let request = decide(&handle, number);
        let began = Instant::now();
        let reply = decides.decide(request).await.unwrap().into_inner();
        let took = began.elapsed();
        assert!(
            matches!(reply.outcome, Some(decide_reply::Outcome::Allowed(_))),
            "{reply:?}"
        );
        took
    };
    let nothing = async || {
        let request = v1::DecideRequest {
            call_id: String::new(),
            ..decide(&handle, 1)
        };
        assert!(bare.decide(request).await.is_err());
    };
    series(&runtime, &policy, calls, call, nothing).print("call");
}

/// What each call took, one behind the other and after a pause, and for each group what of policy's processor time one of
/// the former took, with and without the edge.
#[derive(Default)]
struct Series {
    took: Vec<Duration>,
    rested: Vec<Duration>,
    own: Vec<Duration>,
    alone: Vec<Duration>,
}

impl Series {
    fn print(&self, word: &str) {
        let all = [
            ("", &self.took),
            ("-rested", &self.rested),
            ("-own", &self.own),
            ("-alone", &self.alone),
        ];
        for (end, series) in all {
            let mut line = format!("{word}{end}");
            for one in series {
                // Writing to a String cannot fail.
                let _ = write!(line, " {}", one.as_nanos());
            }
            println!("{line}");
        }
    }
}

/// So many calls, no faster than a client may, and as many that decide nothing, group by group.
fn series(
    runtime: &tokio::runtime::Runtime,
    policy: &Solo,
    calls: usize,
    mut call: impl AsyncFnMut() -> Duration,
    mut nothing: impl AsyncFnMut(),
) -> Series {
    let mut series = Series::default();
    runtime.block_on(async {
        // Opens the connection.
        call().await;
        while series.took.len() < calls {
            let count = GROUP.min(calls - series.took.len());
            for _ in 0..count {
                tokio::time::sleep(PACE).await;
                series.rested.push(call().await);
            }
            // Then the edge permits as many at once as follow.
            tokio::time::sleep(PACE * 2 * u32::try_from(count).unwrap()).await;
            let began = processor_time(policy.pid());
            for _ in 0..count {
                series.took.push(call().await);
            }
            let between = processor_time(policy.pid());
            for _ in 0..count {
                nothing().await;
            }
            let ended = processor_time(policy.pid());
            let each = |from: Duration, to: Duration| {
                to.saturating_sub(from) / u32::try_from(count).unwrap()
            };
            let own = each(began, between);
            series.own.push(own);
            series.alone.push(own.saturating_sub(each(between, ended)));
        }
    });
    series
}

/// What all threads of a process have run, by the scheduler's own account.
fn processor_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    let times = tasks.flatten().flatten().map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let first = stat.split(' ').next().unwrap_or_default();
        Duration::from_nanos(first.parse().unwrap_or_default())
    });
    times.sum()
}

/// Half of the rules are groups with lists of their own, half are people.
fn configuration() -> String {
    let half = RULES / 2;
    let groups: BTreeMap<String, serde_json::Value> = (0..half)
        .map(|n| (format!("-{}", 5000 + n), json!({ "allowFrom": [7000 + n] })))
        .collect();
    let people: Vec<usize> = (0..half).map(|n| 9000 + n).collect();
    json!({
        "channels": { "telegram": {
            "botToken": "1:x", "dmPolicy": "pairing", "allowFrom": people, "groups": groups,
        } },
        "tools": { "allow": ["session_status"] },
    })
    .to_string()
}

fn people() -> String {
    let approved: Vec<_> = (0..PAIRINGS)
        .map(|n| json!({ "sender": sender(n), "hint": "somebody", "approved": 1 }))
        .collect();
    let account = json!({
        "channel": "telegram", "account": "default", "pending": [], "approved": approved, "names": {},
    });
    json!({ "version": 1, "accounts": [account] }).to_string()
}

fn sender(n: usize) -> String {
    (100_000 + n).to_string()
}

fn admit(number: usize) -> v1::AdmitSenderRequest {
    // Another person each time, in no order.
    let id = sender(number * 7919 % PAIRINGS);
    v1::AdmitSenderRequest {
        account: "default".into(),
        event_id: format!("event-{number}"),
        conversation: Some(v1::Conversation {
            kind: v1::ConversationKind::Direct.into(),
            id: id.clone(),
            ..v1::Conversation::default()
        }),
        sender: Some(v1::Sender {
            id,
            username: "somebody".into(),
            display: "Somebody".into(),
            ..v1::Sender::default()
        }),
        text: "What is there to do today?".into(),
        ..v1::AdmitSenderRequest::default()
    }
}

fn decide(handle: &str, number: usize) -> v1::DecideRequest {
    v1::DecideRequest {
        handle: handle.to_owned(),
        caller_class: v1::Class::Guest.into(),
        tool: "session_status".into(),
        arguments_json: "{}".into(),
        call_id: format!("call-{number}"),
        facts: Some(v1::ToolFacts {
            effect: v1::Effect::Read.into(),
            ..v1::ToolFacts::default()
        }),
    }
}
