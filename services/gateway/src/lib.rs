//! The gateway process: the front door, the durable queue behind it, and the lanes in which turns run.

mod lanes;
mod limits;
mod queue;
mod turn_log;
