//! The escape suite: processes that were taken over, what they try, and the one table of what is expected.
//! Nothing here decides what is right; a difference from the table fails, in either direction.

mod control;
mod matrix;
mod run;
mod scene;
mod start;
mod system;

pub use clawdbot_attempts::{Column, Place, Table, columns, system_columns};
pub use control::{Control, NO_NAMESPACE, controls};
pub use matrix::{Report, publish};
pub use run::{Found, run};
pub use scene::{Scene, Surroundings};
pub use system::furnish_all;
