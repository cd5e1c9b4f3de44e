//! The whole agent against a policy, a model and an executor that the test plays, over real edges in memory.

mod rig;

mod commands;
mod crash;
mod lanes;
mod turns;
