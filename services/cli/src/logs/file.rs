//! The log's files: `gateway.log`, and the older `gateway.log.1`, `gateway.log.2`, … beside it. While a file is
//! followed it may be renamed and begun anew; no line is lost then and none comes twice.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Longest line that is read, bytes; the rest of a longer one is passed over.
const LONGEST: u64 = 256 * 1024;

/// The last `limit` lines that `wanted` wants, oldest first. The newest file is read up to byte `upto`; older ones only
/// when the newer do not have enough.
pub fn last(
    newest: &Path,
    upto: u64,
    limit: usize,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<VecDeque<String>> {
    let mut lines = of_file(File::open(newest)?.take(upto), limit, &wanted)?;
    for n in 1.. {
        let mut older = newest.as_os_str().to_owned();
        older.push(format!(".{n}"));
        let file = match File::open(PathBuf::from(older)) {
            Ok(file) if lines.len() < limit => file,
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let mut before = of_file(file, limit - lines.len(), &wanted)?;
        before.append(&mut lines);
        lines = before;
    }
    Ok(lines)
}

/// The same among no more than the last `most` bytes, which may be in the newest file and the one before it.
pub fn tail(
    newest: &Path,
    most: u64,
    limit: usize,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<VecDeque<String>> {
    let (mut lines, left) = end_of(File::open(newest)?, most, limit, &wanted)?;
    let mut older = newest.as_os_str().to_owned();
    older.push(".1");
    match File::open(PathBuf::from(older)) {
        Ok(file) if left > 0 && lines.len() < limit => {
            let (mut before, _) = end_of(file, left, limit - lines.len(), &wanted)?;
            before.append(&mut lines);
            Ok(before)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(lines),
    }
}

/// What the last `most` bytes of a file have, and how many of them it had not.
fn end_of(
    mut file: File,
    most: u64,
    limit: usize,
    wanted: &impl Fn(&str) -> bool,
) -> io::Result<(VecDeque<String>, u64)> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(most);
    file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
    let mut reader = BufReader::new(file);
    if from > 0 {
        // What has begun before is not read; a line that begins there has a break before it.
        reader.skip_until(b'\n')?;
    }
    let lines = of_file(reader, limit, wanted)?;
    Ok((lines, most.saturating_sub(length)))
}

fn of_file(
    file: impl Read,
    limit: usize,
    wanted: &impl Fn(&str) -> bool,
) -> io::Result<VecDeque<String>> {
    let mut reader = BufReader::new(file);
    let mut lines = VecDeque::new();
    let mut line = Vec::new();
    while read_line(&mut reader, &mut line)? {
        let text = String::from_utf8_lossy(&line);
        if !wanted(&text) {
            continue;
        }
        if lines.len() == limit {
            lines.pop_front();
        }
        lines.push_back(text.into_owned());
    }
    Ok(lines)
}

/// Reads a line without its break; false at the end. A last line without a break counts.
pub fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if reader.by_ref().take(LONGEST).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 == LONGEST {
        reader.skip_until(b'\n')?;
    }
    Ok(true)
}

/// Waits for more at the end of a file that may be replaced by a new one.
pub struct Follow {
    path: PathBuf,
    file: File,
    position: u64,
    /// A line that is not complete yet.
    partial: Vec<u8>,
}

impl Follow {
    /// Begins after the last complete line that `path` has now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at_end(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        let from = length.saturating_sub(LONGEST);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.by_ref().take(length - from).read_to_end(&mut tail)?;
        let complete = tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at as u64 + 1);
        let position = file.seek(SeekFrom::Start(from + complete))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            position,
            partial: Vec::new(),
        })
    }

    /// Where it begins, bytes from the start of the file.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The lines that were completed since the last call.
    ///
    /// # Errors
    /// When reading fails. A file that is missing for a moment is none.
    pub fn new_lines(&mut self) -> io::Result<Vec<String>> {
        let replaced = self.replaced()?;
        let mut lines = self.rest()?;
        if let Some(file) = replaced {
            // What was renamed is read to its end; nothing more is written to it.
            if !self.partial.is_empty() {
                lines.push(take(&mut self.partial));
            }
            (self.file, self.position) = (file, 0);
            lines.append(&mut self.rest()?);
        }
        Ok(lines)
    }

    /// The file that has the name now, if it is another one.
    fn replaced(&mut self) -> io::Result<Option<File>> {
        let now = match File::open(&self.path) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (ours, theirs) = (self.file.metadata()?, now.metadata()?);
        if theirs.len() < self.position && ours.ino() == theirs.ino() {
            // Cut off: begins again.
            self.position = self.file.seek(SeekFrom::Start(0))?;
            self.partial.clear();
        }
        Ok(((ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino())).then_some(now))
    }

    fn rest(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut reader = BufReader::new(&self.file);
        loop {
            let read = reader.read_until(b'\n', &mut self.partial)?;
            self.position += read as u64;
            if read == 0 {
                return Ok(lines);
            }
            if self.partial.pop_if(|last| *last == b'\n').is_some() {
                lines.push(take(&mut self.partial));
            }
        }
    }
}

fn take(bytes: &mut Vec<u8>) -> String {
    String::from_utf8_lossy(&std::mem::take(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn log() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.log");
        (directory, path)
    }

    fn append(path: &Path, text: &str) {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    #[test]
    fn the_last_lines_come_oldest_first_and_from_older_files_when_needed() {
        let (_directory, path) = log();
        append(&path, "5\n6\n");
        append(&path.with_extension("log.1"), "3\n4\n");
        append(&path.with_extension("log.2"), "1\n2\n");
        let all = |limit| Vec::from(last(&path, u64::MAX, limit, |_| true).unwrap()).join(" ");
        assert_eq!(all(1), "6");
        assert_eq!(all(3), "4 5 6");
        assert_eq!(all(100), "1 2 3 4 5 6");
        let odd = last(&path, u64::MAX, 2, |line| "135".contains(line)).unwrap();
        assert_eq!(odd, ["3", "5"]);
    }

    #[test]
    fn of_the_end_of_a_log_only_whole_lines_count_and_an_older_file_when_there_is_room() {
        let (_directory, path) = log();
        append(&path, "55\n66\n");
        append(&path.with_extension("log.1"), "33\n44\n");
        append(&path.with_extension("log.2"), "22\n");
        let end = |most, limit| Vec::from(tail(&path, most, limit, |_| true).unwrap()).join(" ");
        for (most, limit, lines) in [
            (2, 9, ""),
            (3, 9, "66"),
            (5, 9, "66"),
            (6, 9, "55 66"),
            (8, 9, "55 66"),
            (9, 9, "44 55 66"),
            (99, 9, "33 44 55 66"),
            (99, 3, "44 55 66"),
            (99, 2, "55 66"),
        ] {
            assert_eq!(end(most, limit), lines, "{most} {limit}");
        }
        fs::remove_file(&path).unwrap();
        assert!(tail(&path, 9, 9, |_| true).is_err());
    }

    #[test]
    fn a_missing_log_is_an_error_and_an_odd_one_is_not() {
        let (_directory, path) = log();
        assert_eq!(
            last(&path, 1, 1, |_| true).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        fs::write(&path, b"\xff\n\nno break").unwrap();
        assert_eq!(
            last(&path, u64::MAX, 9, |_| true).unwrap(),
            ["\u{fffd}", "", "no break"]
        );
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let (_directory, path) = log();
        fs::write(
            &path,
            format!("{}\nnext\n", "x".repeat(3 * LONGEST as usize)),
        )
        .unwrap();
        let lines = last(&path, u64::MAX, 9, |_| true).unwrap();
        assert_eq!(
            (lines.len(), lines[0].len() as u64, lines[1].as_str()),
            (2, LONGEST, "next")
        );
    }

    #[test]
    fn following_gives_each_complete_line_once() {
        let (_directory, path) = log();
        append(&path, "old\npart");
        let mut follow = Follow::at_end(&path).unwrap();
        assert_eq!(
            last(&path, follow.position(), 9, |_| true).unwrap(),
            ["old"]
        );
        assert_eq!(follow.new_lines().unwrap(), [""; 0]);
        append(&path, "ial\nnew\nmo");
        assert_eq!(follow.new_lines().unwrap(), ["partial", "new"]);
        append(&path, "re\n");
        assert_eq!(follow.new_lines().unwrap(), ["more"]);
    }

    #[test]
    fn following_goes_on_when_the_file_is_begun_anew() {
        let (_directory, path) = log();
        append(&path, "old\n");
        let mut follow = Follow::at_end(&path).unwrap();
        append(&path, "last\n");
        fs::rename(&path, path.with_extension("log.1")).unwrap();
        append(&path, "first\n");
        assert_eq!(follow.new_lines().unwrap(), ["last", "first"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(follow.new_lines().unwrap(), [""; 0]);
        append(&path, "again\n");
        assert_eq!(follow.new_lines().unwrap(), ["again"]);
        fs::write(&path, "cut\n").unwrap();
        assert_eq!(follow.new_lines().unwrap(), ["cut"]);
    }
}
