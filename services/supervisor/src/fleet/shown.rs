//! What runs, for the command line.

use std::time::Instant;

use clawdbot_identity::Role;
use clawdbot_proto::v1::{Process, ProcessesReply};

use super::Fleet;

impl Fleet {
    pub(super) fn processes(&self) -> ProcessesReply {
        let millis =
            |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut processes: Vec<Process> = self
            .members
            .iter()
            .map(|(role, member)| Process {
                role: role.to_string(),
                pid: member.pid(),
                state: member.state().into(),
                confinement: member.confinement.clone(),
                status: member.status.clone(),
                restarts: member.life.restarts,
                uptime_ms: member
                    .running
                    .as_ref()
                    .map_or(0, |running| millis(running.since)),
            })
            .collect();
        processes.push(Process {
            role: Role::supervisor().to_string(),
            pid: std::process::id(),
            state: "ready".into(),
            confinement: self.parts.confinement.clone(),
            status: String::new(),
            restarts: 0,
            uptime_ms: millis(self.parts.started),
        });
        ProcessesReply {
            processes,
            uptime_ms: millis(self.parts.started),
            state_dir: self.parts.setup.state_dir.clone(),
            config_path: self.parts.setup.config_path.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            urls: self.listeners.urls(),
        }
    }
}
