//! Length-prefixed frames with descriptors over a connected UNIX stream socket, for the edges that
//! hand over sockets. Refuses what was not announced: a frame that is too long, and a descriptor
//! more or less than its header says; whatever arrived with a refused frame is closed.
//!
//! ```text
//! u32 little endian   payload length, at most 65,536
//! u8                  number of descriptors, at most 16; they travel with the first byte
//! payload
//! ```

mod reader;
mod writer;

pub use reader::{Frame, FrameReader, Progress};
pub use writer::{FrameWriter, send};

use std::io;

/// The longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// The most descriptors in one frame.
pub const MAX_DESCRIPTORS: usize = 16;
/// Bytes before the payload.
const HEADER: usize = 5;

/// The peer broke the framing. The connection has no further meaning and is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("a frame of {length} bytes was announced; at most {MAX_PAYLOAD} are allowed")]
    TooLong {
        /// The announced or given length in bytes.
        length: usize,
    },
    /// More than [`MAX_DESCRIPTORS`].
    #[error(
        "a frame with {count} descriptors was announced; at most {MAX_DESCRIPTORS} are allowed"
    )]
    TooManyDescriptors {
        /// The announced or given number.
        count: usize,
    },
    /// Another number of descriptors than the header announced.
    #[error("a frame announced {announced} descriptors and brought {received}")]
    DescriptorCount {
        /// What the header says.
        announced: usize,
        /// What had arrived when the frame was refused.
        received: usize,
    },
    /// The kernel could not deliver all descriptors (too many in one message, or the limit of open
    /// files was reached).
    #[error(
        "descriptors were lost on the way: too many in one message, or the limit of open files is reached"
    )]
    DescriptorsLost,
    /// The connection ended inside a frame.
    #[error("the connection ended inside a frame")]
    Cut,
    /// The reader was used again after a violation.
    #[error("this connection broke the framing before and is not read any more")]
    Broken,
}

impl Violation {
    /// The violation inside an I/O error, if it is one.
    pub fn of(error: &io::Error) -> Option<Violation> {
        error
            .get_ref()
            .and_then(|inner| inner.downcast_ref())
            .copied()
    }
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, violation)
    }
}

/// Checks a frame's dimensions, on both sides.
fn check(length: usize, count: usize) -> Result<(), Violation> {
    if length > MAX_PAYLOAD {
        return Err(Violation::TooLong { length });
    }
    if count > MAX_DESCRIPTORS {
        return Err(Violation::TooManyDescriptors { count });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
