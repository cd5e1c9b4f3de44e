//! The gateway process: the front door, the durable queue behind it, and the lanes in which turns run. Nothing is
//! accepted that policy did not admit, and nothing that was accepted is lost.

mod clock;
mod desk;
mod front;
mod lanes;
mod limits;
mod operator;
mod queue;
mod run;
#[cfg(test)]
mod testing;
mod turn_log;
mod turns;

pub use run::{Prepared, prepare, serve};
