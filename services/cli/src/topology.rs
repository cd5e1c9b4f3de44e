//! `clawdbot topology`: the processes, what each holds and may reach, and who may call whom, from the tables that the
//! program was built with: the edges and the profiles; with the living processes where something runs.

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::edges::{Carries, EDGES, Edge, PROCESSES, Process, Retry, Starts, matches};
use clawdbot_proto::v1;
use clawdbot_service::level;
use serde_json::{Value, json};

use crate::dial::Sockets;
use crate::failure::{Failure, NOT_RUNNING};
use crate::out::{Out, Style, table};
use crate::reach;
use crate::status::{gap_lines, gather, pid, process_json};

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
    let processes: Vec<[String; 6]> = PROCESSES
        .iter()
        .flat_map(|kind| {
            let row = |role: &str, pid: String, confined: &str| {
                [
                    role.to_owned(),
                    pid,
                    confined.to_owned(),
                    kind.holds.to_owned(),
                    kind.network.to_owned(),
                    kind.job.to_owned(),
                ]
            };
            let live = instances(kind, live);
            if live.is_empty() {
                return vec![row(kind.role, "-".into(), "-")];
            }
            live.iter()
                .map(|process| {
                    row(
                        &process.role,
                        pid(process.pid),
                        level(&process.confinement).unwrap_or("-"),
                    )
                })
                .collect()
        })
        .collect();
    let edges: Vec<[String; 4]> = EDGES
        .iter()
        .map(|edge| {
            let methods: Vec<String> = edge
                .methods
                .iter()
                .map(|method| short(method.path))
                .collect();
            [
                edge.client.to_owned(),
                edge.server.to_owned(),
                carries(edge).to_owned(),
                methods.join(" "),
            ]
        })
        .collect();
    let heading = match runs {
        Ok(true) => "Processes".to_owned(),
        Ok(false) => "Processes (nothing is running)".to_owned(),
        Err(failure) => format!(
            "Processes (what runs cannot be seen: {})",
            sanitize_line(&failure.message)
        ),
    };
    format!(
        "{}\n{}\n{}\n{}\n{}\n{}",
        style.bold(&heading),
        table(
            style,
            ["PROCESS", "PID", "CONFINED", "HOLDS", "NETWORK", "JOB"],
            &processes
        ),
        style.bold("What each may reach; calls are those of single-user and of system mode"),
        reach::as_table(style),
        style.bold("Who may call whom; everything else is refused"),
        table(style, ["CALLER", "SERVER", "CARRIES", "METHODS"], &edges),
    )
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
        assert!(text.contains("Access.Verify") && text.contains("Destinations"));
        assert!(text.starts_with("Processes (nothing is running)\n"));
    }

    #[test]
    fn what_this_person_may_not_see_is_not_told_to_be_absent() {
        let failure = Failure::new("rights.group", "bob is not in the group clawdbot");
        let text = as_text(Style::PLAIN, Err(&failure), &[]);
        let heading = "Processes (what runs cannot be seen: bob is not in the group clawdbot)\n";
        assert!(text.starts_with(heading), "{text}");
        assert_eq!(
            as_json("system", Err(&failure), &[])["running"],
            Value::Null
        );
    }

    #[test]
    fn a_living_process_stands_in_the_row_of_its_kind() {
        let processes = [live("model-builtin"), live("agent-main")];
        let text = as_text(Style::PLAIN, Ok(true), &processes);
        assert!(
            text.lines()
                .any(|line| line.starts_with("model-builtin") && line.contains("77   full")),
            "{text}"
        );
        let (table, _) = text.split_once("What each may reach").unwrap();
        assert!(!table.contains("model-NAME"));
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
