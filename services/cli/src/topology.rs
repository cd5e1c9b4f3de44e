//! `clawdbot topology`: the processes, what each holds and may reach, and who may call whom, from the tables that the
//! program was built with: the edges and the profiles; with the living processes where something runs.

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::edges::{Carries, EDGES, Edge, PROCESSES, Process, Retry, Starts, matches};
use clawdbot_proto::v1;
use clawdbot_service::level;
use serde_json::{Value, json};

use crate::dial::Sockets;
use crate::failure::{Failure, NOT_RUNNING};
use crate::out::{Out, Style};
use crate::reach;
use crate::status::{gap_lines, gather, pid, process_json};

/// Of a line with methods, without what stands before them.
const WIDTH: usize = 90;

/// Prints it.
///
/// # Errors
/// When the output cannot be written; that nothing runs, or that this person may not see it, is none.
pub async fn run(sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let report = gather(sockets).await;
    let live = report
        .as_ref()
        .map(|report| report.processes())
        .unwrap_or_default();
    let seen = report.as_ref().map(|_| true).or_else(|failure| {
        let stopped = failure.code == NOT_RUNNING;
        if stopped { Ok(false) } else { Err(failure) }
    });
    match out.json {
        true => out.value(&as_json(sockets.place().mode.name(), seen, live))?,
        false => {
            let lacking = gap_lines(out.style, live);
            out.text(&(as_text(out.style, seen, live) + &lacking))?;
        }
    }
    Ok(0)
}

/// Whether something runs, or why that cannot be seen.
type Runs<'a> = Result<bool, &'a Failure>;

/// The living processes of one kind.
fn instances<'a>(kind: &Process, live: &'a [v1::Process]) -> Vec<&'a v1::Process> {
    let pattern = kind.role.replace("NAME", "*");
    live.iter()
        .filter(|process| matches(&pattern, &process.role))
        .collect()
}

fn as_json(mode: &str, runs: Runs, live: &[v1::Process]) -> Value {
    let processes: Vec<Value> = PROCESSES
        .iter()
        .map(|kind| {
            let live: Vec<Value> = instances(kind, live)
                .into_iter()
                .map(process_json)
                .collect();
            json!({
                "role": kind.role,
                "binary": kind.binary,
                "starts": starts(kind.starts),
                "job": kind.job,
                "holds": kind.holds,
                "network": kind.network,
                "profile": reach::as_json(kind.role),
                "live": live,
            })
        })
        .collect();
    let edges: Vec<Value> = EDGES
        .iter()
        .map(|edge| {
            let methods: Vec<Value> = edge
                .methods
                .iter()
                .map(|method| {
                    json!({
                        "name": short(method.path),
                        "max": method.max,
                        "rate": method.rate,
                        "retry": retry(method.retry),
                        "streams": method.streams,
                    })
                })
                .collect();
            json!({ "client": edge.client, "server": edge.server, "carries": carries(edge), "methods": methods })
        })
        .collect();
    json!({ "mode": mode, "running": runs.ok(), "processes": processes, "edges": edges })
}

fn as_text(style: Style, runs: Runs, live: &[v1::Process]) -> String {
    let mut heading = "Processes and whom each may call; everything else is refused".to_owned();
    match runs {
        Ok(true) => {}
        Ok(false) => heading.push_str(" (nothing is running)"),
        Err(failure) => heading.push_str(&format!(
            " (what runs cannot be seen: {})",
            sanitize_line(&failure.message)
        )),
    }
    let mut text = style.bold(&heading) + "\n";
    for kind in PROCESSES {
        let own = instances(kind, live);
        match own.is_empty() {
            true => text.push_str(&tree(style, kind, None, live)),
            false => own
                .iter()
                .for_each(|one| text.push_str(&tree(style, kind, Some(one), live))),
        }
    }
    format!(
        "{text}\n{}\n{}",
        style.bold("What each may reach; calls are those of single-user and of system mode"),
        reach::as_table(style),
    )
}

/// A process with what it is for, what it holds and its network, and beneath it the servers that it may call, each with what
/// travels there and the methods.
fn tree(style: Style, kind: &Process, own: Option<&v1::Process>, live: &[v1::Process]) -> String {
    let role = own.map_or(kind.role, |own| &own.role);
    let state = own.map_or_else(String::new, |own| {
        let confined = level(&own.confinement).unwrap_or("-");
        format!("  process {}, confined: {confined}", pid(own.pid))
    });
    let edges: Vec<&Edge> = EDGES
        .iter()
        .filter(|edge| matches(edge.client, role))
        .collect();
    let stem = if edges.is_empty() { " " } else { "│" };
    let mut text = format!(
        "\n{}{}\n{stem}  {}\n{stem}  holds: {}; network: {}\n",
        style.bold(&sanitize_line(role)),
        sanitize_line(&state),
        kind.job,
        kind.holds,
        kind.network
    );
    for (n, edge) in edges.iter().enumerate() {
        let (branch, stem) = match n + 1 == edges.len() {
            true => ("└─", " "),
            false => ("├─", "│"),
        };
        let servers = servers(edge, live).join(", ");
        text.push_str(&format!(
            "{branch} {}  {}\n",
            style.bold(&sanitize_line(&servers)),
            carries(edge)
        ));
        let methods = edge.methods.iter().map(|method| short(method.path));
        for line in wrapped(methods) {
            text.push_str(&format!("{stem}     {line}\n"));
        }
    }
    text
}

/// Who answers on an edge: the living ones, else their kind.
fn servers(edge: &Edge, live: &[v1::Process]) -> Vec<String> {
    let kinds = PROCESSES
        .iter()
        .filter(|kind| matches(edge.server, kind.role));
    let roles = kinds.flat_map(|kind| {
        let own = instances(kind, live);
        match own.is_empty() {
            true => vec![kind.role.to_owned()],
            false => own.iter().map(|own| own.role.clone()).collect(),
        }
    });
    roles.collect()
}

/// Words in lines of at most [`WIDTH`] characters, where a word is no longer.
fn wrapped(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// `Access.Verify` of `/clawdbot.v1.Access/Verify`; the name of a frame stays as it is.
fn short(path: &str) -> String {
    path.strip_prefix("/clawdbot.v1.")
        .unwrap_or(path)
        .replace('/', ".")
}

fn starts(starts: Starts) -> &'static str {
    match starts {
        Starts::Always => "always",
        Starts::Plan => "plan",
        Starts::Demand => "demand",
        Starts::Itself => "self",
        Starts::Person => "person",
    }
}

fn carries(edge: &Edge) -> &'static str {
    match edge.carries {
        Carries::Grpc => "grpc",
        Carries::Frames => "frames",
    }
}

fn retry(retry: Retry) -> &'static str {
    match retry {
        Retry::Safe => "safe",
        Retry::ById => "by-id",
        Retry::No => "no",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(role: &str) -> v1::Process {
        v1::Process {
            role: role.into(),
            pid: 77,
            confinement: "level=full".into(),
            ..v1::Process::default()
        }
    }

    #[test]
    fn every_process_and_edge_of_the_table_is_shown() {
        let (text, json) = (
            as_text(Style::PLAIN, Ok(false), &[]),
            as_json("single", Ok(false), &[]),
        );
        for process in PROCESSES {
            assert!(
                text.contains(process.role) && text.contains(process.job),
                "{}",
                process.role
            );
        }
        assert_eq!(json["processes"].as_array().unwrap().len(), PROCESSES.len());
        assert_eq!(json["edges"].as_array().unwrap().len(), EDGES.len());
        for method in EDGES.iter().flat_map(|edge| edge.methods) {
            assert!(text.contains(&short(method.path)), "{}", method.path);
        }
        let heading = "Processes and whom each may call; everything else is refused (nothing is running)\n\ngateway\n";
        assert!(text.starts_with(heading), "{text}");
    }

    #[test]
    fn what_this_person_may_not_see_is_not_told_to_be_absent() {
        let failure = Failure::new("rights.group", "bob is not in the group clawdbot");
        let text = as_text(Style::PLAIN, Err(&failure), &[]);
        let why = "refused (what runs cannot be seen: bob is not in the group clawdbot)\n";
        assert!(text.contains(why), "{text}");
        assert_eq!(
            as_json("system", Err(&failure), &[])["running"],
            Value::Null
        );
    }

    #[test]
    fn beneath_each_process_is_whom_it_calls_and_beneath_those_what() {
        let text = as_text(
            Style::PLAIN,
            Ok(true),
            &[live("gateway"), live("model-builtin")],
        );
        let tree = |role: &str| {
            let mut trees = text.split("\n\n");
            let tree = trees.find(|tree| tree.split([' ', '\n']).next() == Some(role));
            tree.unwrap_or_else(|| panic!("{role}: {text}"))
        };
        assert_eq!(
            tree("gateway"),
            "gateway  process 77, confined: full\n\
             │  front door: HTTP, WebSocket, command line; durable inbox and outbox; session lanes\n\
             │  holds: queues; network: TCP in, on inherited listeners\n\
             ├─ policy  grpc\n\
             │     Config.Watch Access.Verify Access.CheckKey Access.Redeem Access.AdmitOperator\n\
             │     Access.Present Problems.Watch\n\
             └─ agent-main, agent-guest  grpc\n\
             \x20     Agent.Run Agent.Steer Agent.Cancel Agent.History Agent.ListSessions"
        );
        for role in ["agent-main", "agent-guest"] {
            let call = "├─ model-builtin  grpc\n│     Model.Generate\n";
            assert!(tree(role).contains(call), "{text}");
        }
        let call = "└─ dialer  frames\n      Dial";
        assert!(tree("model-builtin").ends_with(call), "{text}");
        assert!(
            tree("dialer").ends_with("\n   holds: nothing; network: TCP out, DNS"),
            "{text}"
        );
    }

    #[test]
    fn a_living_process_stands_in_the_place_of_its_kind() {
        let processes = [live("model-builtin"), live("agent-main")];
        let text = as_text(Style::PLAIN, Ok(true), &processes);
        let (trees, _) = text.split_once("What each may reach").unwrap();
        assert!(
            trees.contains("\nmodel-builtin  process 77, confined: full\n")
                && trees.contains("\nagent-guest\n"),
            "{text}"
        );
        assert!(!trees.contains("model-NAME"));
        let json = as_json("single", Ok(true), &processes);
        let row = |role: &str| {
            json["processes"]
                .as_array()
                .unwrap()
                .iter()
                .find(|row| row["role"] == role)
                .unwrap()
                .clone()
        };
        assert_eq!(row("model-NAME")["live"][0]["role"], "model-builtin");
        assert_eq!(row("agent-main")["live"][0]["pid"], 77);
        assert_eq!(row("agent-guest")["live"], json!([]));
    }
}
