//! How the agent process begins and ends. Before the confinement it makes its workspaces and reads the index of its sessions;
//! they are the only places outside the state directory that it may read later.

use std::path::PathBuf;
use std::sync::Arc;

use clawdbot_identity::Class;
use clawdbot_proto::v1::agent_server::AgentServer;
use clawdbot_service::{Context, Router, ServeError, Start, StartError};
use tracing::warn;

use crate::agent::Agent;
use crate::disk::{Disk, PATIENCE};
use crate::index::Index;
use crate::peers::Peers;
use crate::service::Service;
use crate::sessions::Sessions;
use crate::syncs::Syncs;
use crate::workspace::make_folder;
use crate::world::System;

/// What the agent has from before its confinement.
pub struct Prepared {
    class: Class,
    folder: PathBuf,
    index: Index,
    workspaces: Vec<PathBuf>,
}

/// Opens the state of the class and makes its workspaces, which it may read.
///
/// # Errors
/// When a folder cannot be made or read, or the process is started as something else than an agent.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    let class = start.role().class();
    let class = class
        .ok_or_else(|| StartError::config("start this program as agent main or agent guest"))?;
    let folder = start.state(&format!("sessions/{class}"))?;
    let index =
        Index::load(&folder).map_err(|error| StartError::io("cannot read the sessions", &error))?;
    let workspaces = start.workspaces().to_vec();
    start.keep_workspaces(|folder| match make_folder(folder) {
        Ok(()) => true,
        Err(error) => {
            warn!(
                folder = %folder.display(), %error,
                "there is no workspace, so its files are not in the prompt; make the folder and start again"
            );
            false
        }
    });
    Ok(Prepared {
        class,
        folder,
        index,
        workspaces,
    })
}

/// Answers the gateway until the process should end.
///
/// # Errors
/// When a thread for the disk cannot be started.
pub async fn serve(prepared: Prepared, context: Context) -> Result<(), ServeError> {
    let Prepared {
        class,
        folder,
        index,
        workspaces,
    } = prepared;
    let disk = || Disk::start(context.pulse("disk", PATIENCE));
    let (disks, syncs) = ([disk()?, disk()?], Syncs::start(context.pulses())?);
    let sessions = Sessions::new(&folder, class, index, disks, syncs, Arc::new(System));
    let edges = context.clone();
    let peers = Peers::new(
        class,
        context.config(),
        Box::new(move |role| edges.edge(role)),
    );
    let agent = Agent::new(peers, sessions, workspaces);
    context.ready(&format!("{} sessions", agent.sessions.len()));
    let router = Router::new().add(AgentServer::new(Service(Arc::clone(&agent))));
    let served = context.serve(router).await;
    agent.sessions.finish().await;
    served
}
