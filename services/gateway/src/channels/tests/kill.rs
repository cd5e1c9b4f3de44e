//! A seeded walk: messages that come twice, gateways that die at any step, reports that are lost.

use std::collections::HashSet;
use std::sync::Arc;

use clawdbot_identity::Class;
use clawdbot_proto::v1;
use clawdbot_proto::v1::Disposition;
use clawdbot_proto::v1::ReceiptState::{Accepted, Known};

use super::{attach, crash, deliver, inbound, next_send, report, rules};
use crate::testing::{FakeAgent, World};

/// A worker with a journal, on a platform that takes everything; it dies with its gateway before some of its reports.
#[derive(Default)]
struct Worker {
    journal: HashSet<String>,
    platform: Vec<String>,
}

impl Worker {
    async fn perform(&mut self, world: &World, send: v1::Send, reports: bool) {
        if self.journal.insert(send.outbox_id.clone()) {
            self.platform.push(send.text);
        }
        if reports {
            report(world, &send.outbox_id, Disposition::Done).await;
        }
    }
}

#[tokio::test]
async fn whatever_dies_whenever_each_message_is_answered_exactly_once_and_in_order() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let agent = FakeAgent::new(Class::Main);
    let mut dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::default();
    let mut told: Vec<v1::Inbound> = Vec::new();
    for round in 0..25 {
        let world = World::with_rules(dir.path(), Arc::clone(&agent), rules("followup", "")).await;
        let mut orders = attach(&world).await;
        for _ in 0..random(4) {
            let mut batch = Vec::new();
            for _ in 0..=random(5) {
                let number = told.len();
                let handle = ["handle-owner", "handle-1", "handle-2"][number % 3];
                let new = inbound(&format!("e{number}"), handle, &format!("text {number}"));
                batch.push(match random(3) {
                    0 if number > 0 => told[random(number as u64) as usize].clone(),
                    _ => {
                        told.push(new.clone());
                        new
                    }
                });
            }
            let (states, _) = deliver(&world, batch).await;
            assert!(
                states.iter().all(|s| [Accepted, Known].contains(s)),
                "{round}"
            );
            for _ in 0..random(4) {
                let open = world.front.status();
                if open.undelivered + open.pending == 0 {
                    break;
                }
                let send = next_send(&mut orders).await;
                let reports = random(3) > 0;
                worker.perform(&world, send, reports).await;
                if !reports {
                    // Its lane is stuck until the next attach.
                    orders = attach(&world).await;
                }
            }
        }
        dir = crash(dir.path());
    }
    let world = World::with_rules(dir.path(), agent, rules("followup", "")).await;
    let mut orders = attach(&world).await;
    let left = told.len() - worker.platform.len();
    let mut reported = world.front.status().undelivered as usize;
    while worker.platform.len() < told.len() || reported > 0 {
        let send = next_send(&mut orders).await;
        worker.perform(&world, send, true).await;
        let status = world.front.status();
        reported = (status.undelivered + status.pending) as usize;
    }
    assert!(left > 0 && told.len() > 50, "{left} of {}", told.len());
    for lane in 0..3 {
        let mine = |text: &&String| text[5..].parse::<usize>().unwrap() % 3 == lane;
        let answers: Vec<_> = worker.platform.iter().filter(mine).collect();
        let questions = told.iter().map(|m| &m.text).filter(mine);
        assert_eq!(answers, questions.collect::<Vec<_>>());
    }
}
