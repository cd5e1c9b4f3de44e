//! `clawdbot logs`: the lines that the processes wrote, from STATE/gateway.log and the older files beside it, or in system
//! mode from the journal. Needs no running assistant.

mod file;
mod journal;
mod line;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clawdbot_identity::Role;
use clawdbot_service::system::socket_in;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::file::tail;
pub use self::file::{Follow, last};
pub use self::journal::{may_read, of_process};
pub use self::line::{Brief, moment};
use self::line::{Filter, Line, since};
use crate::args::{Level, Logs};
use crate::failure::{EXIT_USAGE, Failure};
use crate::out::Out;
use crate::place::{Mode, Place};

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What is late.
const LATELY: Duration = Duration::from_secs(24 * 60 * 60);
/// How many of the late errors and warnings are told.
const TROUBLES: usize = 5;
/// Characters of each.
const TROUBLE: usize = 200;
/// Bytes of the log's files in which they are looked for.
const TAIL: u64 = 2 << 20;

/// Prints the last lines that are asked for, and goes on with new ones if wanted.
///
/// # Errors
/// When there is no log, it cannot be read, or a time cannot be understood.
pub fn run(logs: &Logs, place: &Place, out: Out) -> Result<u8, Failure> {
    let now = SystemTime::now();
    let then = logs.since.as_deref().map(|text| moment(text, now));
    let then = then
        .transpose()
        .map_err(|why| Failure::new("since", why).exit(EXIT_USAGE))?;
    let filter = Filter {
        service: logs.service.clone(),
        since: then.map(since),
        level: logs.level,
        text: logs.grep.clone(),
    };
    if let Mode::System { runtime } = &place.mode {
        let socket = journal_in(runtime);
        let limit = logs.limit as usize;
        return journal::run(&socket, &filter, then, limit, logs.follow, |line| {
            Ok(print(line, out)?)
        });
    }
    let file = file_in(place);
    // Opened before the old lines are read: a line may then come twice to the filter's door, but none is missed.
    let mut follow = Follow::at_end(&file).map_err(|error| unreadable(&file, &error))?;
    let upto = follow.position();
    let lines = last(&file, upto, logs.limit as usize, |line| {
        filter.passes(&Line::parse(line))
    })
    .map_err(|error| unreadable(&file, &error))?;
    for line in lines {
        print(&line, out)?;
    }
    if !logs.follow {
        return Ok(0);
    }
    loop {
        std::thread::sleep(LOOK);
        for line in follow
            .new_lines()
            .map_err(|error| unreadable(&file, &error))?
        {
            if filter.passes(&Line::parse(&line)) {
                print(&line, out)?;
            }
        }
    }
}

/// The newest errors and warnings of the last day, the newest first. Nothing when the log cannot be read, or had none as far
/// as it could be read in this time.
pub async fn troubles(place: &Place, patience: Duration) -> Option<Vec<Brief>> {
    let (found, told) = mpsc::channel();
    let place = place.clone();
    // Whoever has seen enough or waited too long hears no more, which ends the reading.
    let reading = spawn_blocking(move || read_troubles(&place, |line| found.send(line).is_ok()));
    let ended = timeout(patience, reading).await;
    let troubles: Vec<Brief> = told.try_iter().collect();
    let whole = matches!(ended, Ok(Ok(Ok(()))));
    (whole || !troubles.is_empty()).then_some(troubles)
}

fn read_troubles(place: &Place, mut more: impl FnMut(Brief) -> bool) -> Result<(), Failure> {
    let then = SystemTime::now().checked_sub(LATELY).unwrap_or(UNIX_EPOCH);
    let filter = Filter {
        since: Some(since(then)),
        level: Some(Level::Warn),
        ..Filter::default()
    };
    if let Mode::System { runtime } = &place.mode {
        let mut left = TROUBLES;
        return journal::newest(&journal_in(runtime), &filter, then, |line| {
            left -= 1;
            more(line.brief(TROUBLE)) && left > 0
        });
    }
    let file = file_in(place);
    let wanted = |line: &str| filter.passes(&Line::parse(line));
    let lines = tail(&file, TAIL, TROUBLES, wanted).map_err(|error| unreadable(&file, &error))?;
    let mut newest = lines.iter().rev();
    let _heard = newest.all(|line| more(Line::parse(line).brief(TROUBLE)));
    Ok(())
}

fn file_in(place: &Place) -> PathBuf {
    place.state.join("gateway.log")
}

/// The operators' way to the journal.
pub fn journal_in(runtime: &Path) -> PathBuf {
    socket_in(runtime, &Role::journal(), &Role::operator())
}

fn print(line: &str, out: Out) -> io::Result<()> {
    let line = Line::parse(line);
    match out.json {
        true => out.line(&line.json()),
        false => out.text(&line.text(out.style)),
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new("log", format!("{}: {error}", file.display()));
    match error.kind() {
        io::ErrorKind::NotFound => {
            failure.remedy("there is a log as soon as `clawdbot up` has run here")
        }
        io::ErrorKind::PermissionDenied => {
            failure.remedy("read it as the user who runs the assistant")
        }
        _ => failure,
    }
}
