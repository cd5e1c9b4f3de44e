//! `clawdbot logs`: the lines that the processes wrote, from STATE/gateway.log and the older files beside it, or in system
//! mode from the journal. Needs no running assistant.

mod file;
mod journal;
mod line;

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clawdbot_identity::Role;
use clawdbot_service::system::socket_in;

pub use self::file::{Follow, last};
pub use self::journal::may_read;
pub use self::line::moment;
use self::line::{Filter, Line, since};
use crate::args::Logs;
use crate::failure::{EXIT_USAGE, Failure};
use crate::out::Out;
use crate::place::{Mode, Place};

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(200);

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
        let socket = socket_in(runtime, &Role::journal(), &Role::operator());
        let limit = logs.limit as usize;
        return journal::run(&socket, &filter, then, limit, logs.follow, |line| {
            Ok(print(line, out)?)
        });
    }
    let file = place.state.join("gateway.log");
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
