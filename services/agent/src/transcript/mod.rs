//! Transcripts: what was said in a session, one append-only file of JSON lines for each session id.
//! The transcripts are the only truth about sessions; everything else is derived from them.

mod entry;
mod line;
mod path;
mod scan;
mod shape;
mod thread;
mod window;

pub use entry::{Assistant, Change, Compaction, End, Failure, Item, Origin, Outcome};
pub use line::{Header, read, write};
pub use path::Path;
pub use scan::{for_each, header, scan, scan_from};
pub use thread::{Batch, Known, Progress, Settings, Thread, Totals};
pub use window::{Cut, Window, squeeze};

#[cfg(test)]
pub use thread::tests;
