//! The gateway process: the front door, the durable queue behind it, the lanes in which turns run, and what goes out to
//! channels. Nothing is accepted that policy did not admit, and nothing that was accepted is lost.

mod channels;
mod clock;
mod desk;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod lanes;
mod limits;
mod operator;
mod problems;
mod queue;
mod rule;
mod run;
#[cfg(test)]
mod testing;
mod turn_log;
mod turns;
mod wording;

pub use run::{Prepared, prepare, serve};
