//! What the fuzz targets look at: transcripts and single lines of them. Plain functions of bytes; nothing here is used by
//! the agent.

use std::io;

use clawdbot_proto::v1::ModelMessage;

use crate::generate::read;
use crate::transcript;

/// What a transcript says.
pub struct Told {
    /// Bytes up to the end of the last complete line, and after it.
    pub length: (u64, u64),
    /// Lines that could not be read.
    pub damaged: u32,
    /// Bytes of memory that the window takes, by its own count.
    pub window: usize,
    /// What a model sees.
    pub messages: Vec<ModelMessage>,
    /// The same after tool results were shortened, with how many were.
    pub pruned: (Vec<ModelMessage>, usize),
    /// What a summary would stand for.
    pub cut: Option<Vec<ModelMessage>>,
}

/// Reads a transcript; nothing when its first line is not one of ours.
///
/// # Errors
/// Never: there is no disk.
pub fn transcript(bytes: &[u8]) -> io::Result<Option<Told>> {
    let Some(scan) = transcript::scan_from(bytes)? else {
        return Ok(None);
    };
    let mut window = scan.thread.window;
    let messages = |window: &transcript::Window| -> Vec<ModelMessage> {
        window.written(1 << 20).iter().map(read).collect()
    };
    let (size, before) = (window.bytes(), messages(&window));
    let cut = window.cut(100).map(|cut| cut.messages);
    let pruned = window.prune(1);
    Ok(Some(Told {
        length: (scan.thread.bytes, scan.torn),
        damaged: scan.damaged,
        window: size,
        messages: before,
        pruned: (messages(&window), pruned),
        cut,
    }))
}

/// A line after the first as this program would have written it; nothing when it is not one.
pub fn line(bytes: &[u8]) -> Option<Vec<u8>> {
    transcript::read(bytes).map(|entry| transcript::write(&entry))
}

/// A first line as this program would have written it.
pub fn header(bytes: &[u8]) -> Option<Vec<u8>> {
    transcript::Header::parse(bytes).map(|header| header.to_line())
}
