//! Reads a transcript from disk. A last line that a crash left unfinished is not part of it; a damaged line in the middle
//! is passed over and counted. Neither is an error: what stands there otherwise is still good.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path as FilePath;

use super::entry::Entry;
use super::line::{self, Header};
use super::thread::Thread;

/// A first line is a few hundred bytes.
const HEADER_BYTES: u64 = 8 << 10;

/// What a file held.
pub struct Scan {
    pub thread: Thread,
    /// Bytes after the last complete line.
    pub torn: u64,
    /// Complete lines that could not be read.
    pub damaged: u32,
}

/// The first line alone; `None` when it is not one of ours.
pub fn header(path: &FilePath) -> io::Result<Option<Header>> {
    let mut first = Vec::new();
    BufReader::with_capacity(512, File::open(path)?.take(HEADER_BYTES))
        .read_until(b'\n', &mut first)?;
    Ok(Header::parse(&first).filter(|_| first.ends_with(b"\n")))
}

/// Reads the whole file; `None` when its first line is not one of ours.
pub fn scan(path: &FilePath) -> io::Result<Option<Scan>> {
    scan_from(open(path)?)
}

/// As [`scan`], from wherever the lines come.
pub fn scan_from(lines: impl BufRead) -> io::Result<Option<Scan>> {
    let mut damaged = 0;
    let mut thread = None;
    let length = walk(lines, |line, at| match &mut thread {
        None => {
            let Some(header) = Header::parse(line) else {
                return false;
            };
            let mut begun = Thread::new(header);
            begun.bytes = at.end;
            thread = Some(begun);
            true
        }
        Some(thread) => {
            match line::read(line) {
                Some(entry) => thread.apply(entry, at),
                None => {
                    damaged += 1;
                    thread.bytes = at.end;
                }
            }
            true
        }
    })?;
    Ok(thread.map(|thread| Scan {
        torn: length - thread.bytes,
        thread,
        damaged,
    }))
}

/// Hands every readable entry of the file to `each`, in order.
pub fn for_each(path: &FilePath, mut each: impl FnMut(Entry)) -> io::Result<()> {
    let mut first = true;
    walk(open(path)?, |line, _| {
        if !std::mem::replace(&mut first, false) {
            line::read(line).into_iter().for_each(&mut each);
        }
        true
    })?;
    Ok(())
}

fn open(path: &FilePath) -> io::Result<impl BufRead> {
    Ok(BufReader::with_capacity(64 << 10, File::open(path)?))
}

/// Hands every complete line and its place to `each` until that says no; returns the length of all.
fn walk(
    mut reader: impl BufRead,
    mut each: impl FnMut(&[u8], Range<u64>) -> bool,
) -> io::Result<u64> {
    let mut line = Vec::new();
    let mut at = 0;
    loop {
        line.clear();
        let end = at + reader.read_until(b'\n', &mut line)? as u64;
        if !line.ends_with(b"\n") || !each(&line, at..end) {
            return Ok(end);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Item;
    use super::super::thread::tests::{append, thread};
    use super::*;

    fn written(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s1.jsonl");
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    fn question(text: &str) -> Item {
        Item::User {
            text: text.into(),
            message: None,
        }
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_measured_at_every_length() {
        let mut thread = thread();
        let mut file = append(&mut thread, vec![(Some("t1"), question("one"))]);
        let whole = file.len();
        file.extend(append(&mut thread, vec![(Some("t2"), question("two"))]));
        for length in whole..file.len() {
            let (_dir, path) = written(&file[..length]);
            let scan = scan(&path).unwrap().unwrap();
            assert_eq!(scan.thread.bytes, whole as u64);
            assert_eq!(scan.torn, (length - whole) as u64);
            assert_eq!((scan.damaged, scan.thread.totals.messages), (0, 1));
        }
        let (_dir, path) = written(&file);
        let scan = scan(&path).unwrap().unwrap();
        assert_eq!(
            (scan.torn, scan.thread.totals.messages),
            (0, 2),
            "positive control"
        );
    }

    #[test]
    fn a_damaged_line_in_the_middle_costs_only_itself() {
        let mut thread = thread();
        let mut file = append(&mut thread, vec![(None, question("one"))]);
        file.extend(b"\0\0\0\n{\"type\":\n\xff\xfe\n");
        thread.bytes = file.len() as u64;
        file.extend(append(&mut thread, vec![(None, question("two"))]));
        let (_dir, path) = written(&file);
        let scan = scan(&path).unwrap().unwrap();
        assert_eq!((scan.torn, scan.damaged), (0, 3));
        assert_eq!(scan.thread.window.messages(1 << 20).len(), 2);
        let mut seen = 0;
        for_each(&path, |_| seen += 1).unwrap();
        assert_eq!(seen, 2);
    }

    #[test]
    fn what_is_no_transcript_of_ours_is_told_apart() {
        for content in [&b""[..], b"hello\n", b"{\"type\":\"session\"", b"{}\n{}\n"] {
            let (_dir, path) = written(content);
            assert!(scan(&path).unwrap().is_none());
            assert!(header(&path).unwrap().is_none());
        }
        let mut thread = thread();
        let (_dir, path) = written(&append(&mut thread, vec![(None, question("x"))]));
        assert_eq!(header(&path).unwrap(), Some(thread.header));
    }

    #[test]
    fn what_is_read_equals_what_was_appended() {
        let mut thread = thread();
        let mut file = Vec::new();
        for n in 0..5 {
            let id = format!("t{n}");
            file.extend(append(&mut thread, vec![(Some(&id), question(&id))]));
        }
        let (_dir, path) = written(&file);
        let read = scan(&path).unwrap().unwrap().thread;
        assert_eq!(
            read.window.messages(1 << 20),
            thread.window.messages(1 << 20)
        );
        assert_eq!(
            (read.bytes, read.totals, read.leaf()),
            (thread.bytes, thread.totals, thread.leaf())
        );
    }
}
