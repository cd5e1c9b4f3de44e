//! The positive control: the very same attempt outside of all confinement. One that fails there proves
//! nothing where it is refused.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use clawdbot_attempts::{Attempt, Table, all};
use clawdbot_scene::hand;

use super::run::observe;
use super::scene::Scene;
use super::start::{alone, plain};
use crate::binary;

/// Instead of an outcome: this user gets no namespace of its own.
pub const NO_NAMESPACE: &str = "no-namespace";

/// Who makes the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// The user who runs this.
    User,
    /// Root of a user namespace of its own.
    Userns,
    /// Root; this runs as root.
    Root,
}

impl Control {
    /// By its word in the table.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "user" => Some(Self::User),
            "userns" => Some(Self::Userns),
            "root" => Some(Self::Root),
            _ => None,
        }
    }
}

/// Makes one attempt, in a process of its own. The outcome's word.
pub fn control(scene: &Scene, attempt: &Attempt, who: Control) -> String {
    let plan = scene.plan(None, &[attempt.name], |plan| plan.world.fd = Some(0));
    let mut command = Command::new(binary("clawdbot-attempt"));
    if who == Control::Userns {
        command.arg("userns");
    }
    command.arg(plan);
    let _alone = alone(attempt.name);
    let mut started = plain(command, hand(attempt.needs, &scene.canary(), true).unwrap());
    let outcomes = observe(&mut started);
    let last = outcomes.into_iter().last().unwrap_or_default();
    if last.0 == NO_NAMESPACE {
        last.0
    } else {
        last.1
    }
}

/// Makes all attempts whose control is one of these.
pub fn controls(scene: &Scene, table: &Table, who: &[Control]) -> BTreeMap<&'static str, String> {
    let mut left: Vec<(Attempt, Control)> = all()
        .filter_map(|attempt| Some((attempt, Control::parse(table.control(attempt.name)?)?)))
        .filter(|(_, control)| who.contains(control))
        .collect();
    left.reverse();
    let (left, found) = (Mutex::new(left), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some((attempt, who)) = next else { return };
                    let outcome = control(scene, &attempt, who);
                    found.lock().unwrap().insert(attempt.name, outcome);
                }
            });
        }
    });
    found.into_inner().unwrap()
}
