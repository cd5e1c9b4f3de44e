//! Transcripts: what was said in a session, one append-only file of JSON lines for each session id.
//! The transcripts are the only truth about sessions; everything else is derived from them.

mod entry;
mod line;
mod path;
mod scan;
mod thread;

pub use entry::{Assistant, Change, End, Failure, Item, Origin, Outcome};
pub use line::{Header, read};
pub use path::Path;
pub use scan::{for_each, header, scan};
pub use thread::{Batch, Known, Settings, Thread, Totals};
