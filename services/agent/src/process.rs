//! How the agent process begins and ends. Before the confinement it makes its folders and reads the index of its sessions;
//! the default workspace is the only place outside the state directory that it may read later.

use std::path::PathBuf;
use std::sync::Arc;

use clawdbot_confine::landlock::{Access, FileRule};
use clawdbot_identity::Class;
use clawdbot_proto::v1::agent_server::AgentServer;
use clawdbot_service::{Context, Router, ServeError, Start, StartError};
use tracing::warn;

use crate::agent::Agent;
use crate::disk::Disk;
use crate::index::Index;
use crate::peers::Peers;
use crate::service::Service;
use crate::sessions::Sessions;
use crate::workspace::{default_folder, make_folder};
use crate::world::System;

/// What the agent has from before its confinement.
pub struct Prepared {
    class: Class,
    folder: PathBuf,
    index: Index,
    home: PathBuf,
}

/// Opens the state of the class and permits the default workspace for reading.
///
/// # Errors
/// When a folder cannot be made or read, or the process is started as something else than an agent.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    let class = start.role().class();
    let class = class
        .ok_or_else(|| StartError::config("start this program as agent main or agent guest"))?;
    let folder = start.state(&format!("sessions/{class}"))?;
    start.state(&format!("agents/{class}"))?;
    let index =
        Index::load(&folder).map_err(|error| StartError::io("cannot read the sessions", &error))?;
    let home = PathBuf::from(&start.setup().home_dir);
    let workspace = default_folder(&home, class);
    match make_folder(&workspace) {
        Ok(()) => start.allow(FileRule::path(&workspace, Access::ReadDir)),
        Err(error) => warn!(
            folder = %workspace.display(), %error,
            "there is no workspace, so its files are not in the prompt; make the folder and start again"
        ),
    }
    Ok(Prepared {
        class,
        folder,
        index,
        home,
    })
}

/// Answers the gateway until the process should end.
///
/// # Errors
/// When the thread for the disk cannot be started.
pub async fn serve(prepared: Prepared, context: Context) -> Result<(), ServeError> {
    let Prepared {
        class,
        folder,
        index,
        home,
    } = prepared;
    let sessions = Sessions::new(&folder, class, index, Disk::start()?, Arc::new(System));
    let edges = context.clone();
    let peers = Peers::new(
        class,
        context.config(),
        Box::new(move |role| edges.edge(role)),
    );
    let agent = Agent::new(peers, sessions, home);
    context.ready(&format!("{} sessions", agent.sessions.len()));
    let router = Router::new().add(AgentServer::new(Service(Arc::clone(&agent))));
    let served = context.serve(router).await;
    agent.sessions.finish().await;
    served
}
