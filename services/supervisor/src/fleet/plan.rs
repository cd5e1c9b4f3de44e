//! Follows policy's plan: instances start and stop, listeners come and go, the log level changes.

use std::time::Instant;

use clawdbot_identity::Role;
use clawdbot_proto::v1::{
    Descriptor, Listeners as KeptListeners, Plan, Shutdown, control_frame, descriptor,
};

use super::Fleet;
use super::wanted::{Fate, Wanted};
use crate::home::Refusal;

impl Fleet {
    pub(super) fn follow(&mut self, plan: &Plan) {
        if self.stopping.is_some() {
            return;
        }
        self.parts.setup.log_level.clone_from(&plan.log_level);
        self.parts
            .setup
            .sandbox_require
            .clone_from(&plan.sandbox_require);
        for running in self.members.values().filter_map(|m| m.running.as_ref()) {
            running
                .started
                .send(control_frame::Frame::LogLevel(plan.log_level.clone()), None);
        }
        self.wanted = Wanted::of(plan);
        self.follow_instances();
        self.follow_listeners(&plan.listeners);
        self.planned = true;
        let levels: Vec<(Role, String)> = self
            .members
            .iter()
            .filter(|(_, member)| member.life.ready.is_some())
            .map(|(role, member)| (role.clone(), member.confinement.clone()))
            .collect();
        for (role, confinement) in levels {
            self.check_level(&role, &confinement);
        }
        self.announce(Instant::now());
    }

    fn follow_instances(&mut self) {
        let now = Instant::now();
        for (role, member) in &mut self.members {
            let started = member
                .running
                .as_ref()
                .map(|running| running.reach.as_str());
            let fate = self.wanted.fate(role, started);
            // One that is about to end for its destinations does so even if they are what they were again.
            let outdated = member.outdated.filter(|_| member.running.is_some());
            member.outdated = outdated.or((fate == Fate::Anew).then_some(now));
            let unwanted = fate == Fate::Ends;
            member.unwanted = unwanted.then(|| member.unwanted.unwrap_or(now));
            if let (Fate::Ends | Fate::Anew, Some(running)) = (fate, &member.running) {
                running
                    .started
                    .send(control_frame::Frame::Shutdown(Shutdown {}), None);
            }
        }
        self.members
            .retain(|_, member| member.unwanted.is_none() || member.running.is_some());
        let missing: Vec<Role> = { self.wanted.roles() }
            .filter(|role| !self.members.contains_key(role))
            .cloned()
            .collect();
        for role in missing {
            self.start(&role);
        }
    }

    fn follow_listeners(&mut self, planned: &[String]) {
        let fresh = match self.listeners.follow(planned) {
            Ok(fresh) => fresh,
            Err(occupied) if self.planned => {
                let message = format!("{occupied}; see gateway.bind and gateway.port");
                self.parts.ui.alarm(&message);
                self.note("error", &message);
                return;
            }
            Err(occupied) => {
                let port = occupied.address.rsplit(':').next().unwrap_or_default();
                return self.stop(Some(Refusal::new(
                    occupied.to_string(),
                    format!(
                        "stop whatever uses port {port}, or choose another with --port N or gateway.port"
                    ),
                )));
            }
        };
        let Some(gateway) = self
            .members
            .get(&Role::gateway())
            .and_then(|m| m.running.as_ref())
        else {
            return;
        };
        for (address, socket) in self
            .listeners
            .iter()
            .filter(|(address, _)| fresh.contains(address))
        {
            let what = descriptor::What::Listener(address.to_string());
            // Without a descriptor left the gateway gets it at its next start.
            if let Ok(socket) = socket.try_clone() {
                gateway
                    .started
                    .give(Descriptor { what: Some(what) }, socket.into());
            }
        }
        let addresses = self.listeners.addresses();
        let kept = control_frame::Frame::Listeners(KeptListeners { addresses });
        gateway.started.send(kept, None);
    }
}
