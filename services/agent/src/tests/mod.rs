//! The whole agent against a policy, a model and an executor that the test plays, over real edges in memory.

mod rig;

mod commands;
mod compaction;
mod crash;
mod lanes;
mod models;
mod steer;
mod turns;
