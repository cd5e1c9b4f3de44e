//! Which tools a session may call, by the lists of the configuration. Default deny; a refusal names the list and the key
//! that mends it. Tools are data: what groups one belongs to comes with each call, and nothing here knows what it does.

mod explain;
mod lists;
mod memory;
mod place;
mod steps;

#[cfg(test)]
mod tests;

pub(crate) use explain::{Line, explain};
pub(crate) use lists::{AgentLists, Lists, PlaceLists, Policy, Sandbox, SandboxLists};
pub(crate) use memory::{Catalogue, Providers};
pub(crate) use place::place;
pub(crate) use steps::{Asker, Provider, Tool, judge, mark};
