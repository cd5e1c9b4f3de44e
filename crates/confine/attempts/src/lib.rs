//! What a program that breaks out would try, one function for each attempt, and the table of what is expected of
//! it, for the escape tests and the doctor. Every call is made raw, past the checks of the libraries, and the
//! kernel's answer is all that comes back.
#![cfg(target_os = "linux")]

mod answer;
mod apart;
mod column;
mod files;
mod heard;
mod kernel;
mod letters;
mod listing;
mod memory;
mod net;
mod outside;
mod plan;
mod process;
mod reaim;
mod rights;
mod space;
mod sys;
mod table;
mod unix;
mod world;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use answer::{Answer, errno_name, word};
pub use apart::{Ended, Side, apart};
pub use column::{Column, Place, columns, system_columns};
pub use heard::{End, Heard};
pub use letters::{LETTERS, OTHER, letter, upright};
pub use listing::{Attempt, Needs, all};
pub use outside::main;
pub use plan::Plan;
pub use table::{Expected, GROUPS, Table};
pub use world::World;
