//! `clawdbot status`: what runs, how it is confined, what is wrong with it, and what happened last. Three processes are asked
//! at the same time and each has a moment to answer; then the conversations, the log and what is to be applied have one
//! together, so that the whole takes two whatever hangs. In system mode the service manager is asked instead of the
//! supervisor, and first: a connection would start what does not run.

mod shown;
mod system;

use std::time::Duration;

use clawdbot_proto::v1::chat_client::ChatClient;
use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
use clawdbot_proto::v1::supervisor_operator_client::SupervisorOperatorClient;
use clawdbot_proto::v1::{
    GatewayStatus, GatewayStatusRequest, PolicyStatus, PolicyStatusRequest, Problem, Process,
    ProcessesReply, ProcessesRequest, SessionSummary,
};
use clawdbot_service::Edge;
use tokio::time::timeout;
use tonic::{Response, Status};

pub use self::shown::{gap_lines, pid, process_json};
pub use self::system::pending;
use crate::dial::{Server, Sockets};
use crate::failure::{EXIT_FAILURE, EXIT_NOT_RUNNING, Failure, NOT_RUNNING};
use crate::logs::{Brief, troubles};
use crate::manager::Seen;
use crate::out::Out;
use crate::place::Mode;
use crate::sessions;

/// How long one process may take to answer whoever only wants to know how things are, connection included.
const MOMENT: Duration = Duration::from_millis(800);

/// What the running assistant says about itself. What did not answer is missing.
#[derive(Debug, Default)]
pub struct Report {
    /// Who starts the processes.
    pub mode: Mode,
    /// The supervisor's view, in system mode the service manager's.
    pub processes: Option<ProcessesReply>,
    /// The front door.
    pub gateway: Option<GatewayStatus>,
    /// The configuration in force.
    pub policy: Option<PolicyStatus>,
    /// What did not answer, and why.
    pub problems: Vec<String>,
    /// What should run and does not by the service manager's word, and why.
    pub absent: Vec<String>,
    /// What `clawdbot apply` would do.
    pub pending: Vec<String>,
    /// The conversations, the one that was used last first, if whoever has them could be asked.
    pub sessions: Option<Vec<SessionSummary>>,
    /// The newest errors and warnings of the last day, if the log could be read.
    pub troubles: Option<Vec<Brief>>,
}

/// Asks everybody.
///
/// # Errors
/// Exit status 69 when nobody is there or the assistant belongs to somebody else.
pub async fn gather(sockets: &Sockets) -> Result<Report, Failure> {
    look(sockets, MOMENT, MOMENT).await.0
}

/// The same, with what the service manager said, which has as long as `manager` to answer.
pub async fn look(
    sockets: &Sockets,
    manager: Duration,
    patience: Duration,
) -> (Result<Report, Failure>, Option<Seen>) {
    match &sockets.place().mode {
        Mode::Single => (gather_single(sockets, patience).await, None),
        Mode::System { runtime } => {
            let seen = Seen::ask(runtime, manager).await;
            let report = system::gather(sockets, runtime, &seen, patience).await;
            (report, Some(seen))
        }
    }
}

async fn of_gateway(sockets: &Sockets, patience: Duration) -> Result<GatewayStatus, Failure> {
    ask(sockets, Server::Gateway, patience, async |edge| {
        ChatClient::new(edge).status(GatewayStatusRequest {}).await
    })
    .await
}

async fn of_policy(sockets: &Sockets, patience: Duration) -> Result<PolicyStatus, Failure> {
    ask(sockets, Server::Policy, patience, async |edge| {
        PolicyOperatorClient::new(edge)
            .status(PolicyStatusRequest {})
            .await
    })
    .await
}

async fn gather_single(sockets: &Sockets, patience: Duration) -> Result<Report, Failure> {
    let processes = ask(sockets, Server::Supervisor, patience, async |edge| {
        SupervisorOperatorClient::new(edge)
            .processes(ProcessesRequest {})
            .await
    });
    let (gateway, policy) = (of_gateway(sockets, patience), of_policy(sockets, patience));
    assemble(tokio::join!(processes, gateway, policy))
}

/// One question to one server, which has this long to answer, connection included.
///
/// # Errors
/// When it is not there, does not answer in time, or refuses.
pub async fn ask<T>(
    sockets: &Sockets,
    server: Server,
    patience: Duration,
    call: impl AsyncFnOnce(Edge) -> Result<Response<T>, Status>,
) -> Result<T, Failure> {
    let asked = async {
        let line = sockets.open(server).await?;
        call(line.edge.clone())
            .await
            .map_err(|status| Failure::call(&format!("the {}", server.name()), &status))
    };
    let silent = || {
        Failure::new(
            "unavailable",
            format!("the {} does not answer", server.name()),
        )
    };
    timeout(patience, asked)
        .await
        .unwrap_or_else(|_| Err(silent()))
        .map(Response::into_inner)
}

type Answers = (
    Result<ProcessesReply, Failure>,
    Result<GatewayStatus, Failure>,
    Result<PolicyStatus, Failure>,
);

/// One report out of three answers; an error if there is none and nobody could even be reached.
fn assemble((processes, gateway, policy): Answers) -> Result<Report, Failure> {
    let mut report = Report::default();
    match (processes, gateway, policy) {
        (Err(one), Err(gateway), Err(two))
            if [&one, &gateway, &two]
                .iter()
                .all(|f| f.exit == EXIT_NOT_RUNNING) =>
        {
            return Err(gateway);
        }
        (processes, gateway, policy) => {
            match processes {
                Ok(reply) => report.processes = Some(reply),
                // A service manager has no such socket.
                Err(failure) if failure.code == NOT_RUNNING => {}
                Err(failure) => report.problems.push(failure.message),
            }
            match gateway {
                Ok(reply) => report.gateway = Some(reply),
                Err(failure) => report.problems.push(failure.message),
            }
            match policy {
                Ok(reply) => report.policy = Some(reply),
                Err(failure) => report.problems.push(failure.message),
            }
        }
    }
    Ok(report)
}

impl Report {
    /// Addresses of the front door, the gateway's own word first.
    pub fn urls(&self) -> &[String] {
        let gateway = self.gateway.as_ref().map(|gateway| gateway.urls.as_slice());
        let supervisor = self.processes.as_ref().map(|reply| reply.urls.as_slice());
        gateway
            .filter(|urls| !urls.is_empty())
            .or(supervisor)
            .unwrap_or_default()
    }

    /// The processes; empty where they are not known.
    pub fn processes(&self) -> &[Process] {
        self.processes
            .as_ref()
            .map(|reply| reply.processes.as_slice())
            .unwrap_or_default()
    }

    /// What workers and policy say is wrong, and who waits for the owner.
    pub fn reported(&self) -> &[Problem] {
        self.policy
            .as_ref()
            .map(|policy| policy.problems.as_slice())
            .unwrap_or_default()
    }

    /// Whether everybody lives who is needed to list the conversations. Asking starts nobody then.
    fn can_list(&self) -> bool {
        let lives = |role: &str| {
            self.processes().iter().any(|process| {
                process.role == role && matches!(process.state.as_str(), "ready" | "starting")
            })
        };
        self.gateway.is_some()
            && self.policy.is_some()
            && ["agent-main", "agent-guest"].into_iter().all(lives)
    }

    /// What is known to be wrong with the processes as such.
    fn wrong(&self) -> impl Iterator<Item = &String> {
        self.absent.iter().chain(&self.problems)
    }

    /// Whether everything that should answer does, no process has given up, and no worker is kept from its work.
    pub fn is_well(&self) -> bool {
        self.wrong().next().is_none()
            && self.reported().iter().all(is_notice)
            && self
                .processes()
                .iter()
                .all(|process| process.state != "failed")
    }
}

/// Whether it is only news for the owner.
pub fn is_notice(problem: &Problem) -> bool {
    problem.code == "pairing.requested"
}

/// Prints the report; exit status 1 when something is wrong.
///
/// # Errors
/// Exit status 69 when nothing runs.
pub async fn run(sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let (report, seen) = look(sockets, MOMENT, MOMENT).await;
    let mut report = report?;
    let pending = async {
        match &seen {
            Some(seen) => pending(sockets, seen, report.policy.is_some(), MOMENT).await,
            None => Vec::new(),
        }
    };
    let sessions = async {
        match report.can_list() {
            true => ask(sockets, Server::Gateway, MOMENT, sessions::list)
                .await
                .ok(),
            false => None,
        }
    };
    let troubles = troubles(sockets.place(), MOMENT);
    (report.pending, report.sessions, report.troubles) = tokio::join!(pending, sessions, troubles);
    match out.json {
        true => out.value(&report.json())?,
        false => out.text(&report.text(out.style, out.verbose, sessions::now_ms()))?,
    }
    Ok(if report.is_well() { 0 } else { EXIT_FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversations_are_asked_for_where_everybody_lives_who_has_to_answer() {
        let process = |role: &str, state: &str| Process {
            role: role.into(),
            state: state.into(),
            ..Process::default()
        };
        let report = |gateway: bool, guest: &str| Report {
            gateway: gateway.then(GatewayStatus::default),
            policy: Some(PolicyStatus::default()),
            processes: Some(ProcessesReply {
                processes: vec![
                    process("agent-main", "ready"),
                    process("agent-guest", guest),
                ],
                ..ProcessesReply::default()
            }),
            ..Report::default()
        };
        assert!(report(true, "ready").can_list());
        assert!(!report(false, "ready").can_list());
        assert!(!report(true, "stopped").can_list());
        assert!(!Report::default().can_list());
    }

    #[test]
    fn nobody_there_is_an_error_and_one_who_answers_is_a_report() {
        let nobody = || Failure::new(NOT_RUNNING, "nothing").exit(69);
        let silent = || Failure::new("unavailable", "the gateway does not answer");
        assert_eq!(
            assemble((Err(nobody()), Err(nobody()), Err(nobody())))
                .unwrap_err()
                .exit,
            69
        );
        let report = assemble((Err(nobody()), Err(silent()), Ok(PolicyStatus::default()))).unwrap();
        assert_eq!(report.problems, ["the gateway does not answer"]);
        assert!(report.policy.is_some() && report.processes().is_empty());
        let hanging = assemble((Err(silent()), Err(silent()), Err(silent()))).unwrap();
        assert_eq!(hanging.problems.len(), 3);
    }
}
