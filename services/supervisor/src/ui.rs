//! What a person, or a program with `--json`, sees of the start, the run and the end. Never text that a
//! child could use to paint the terminal.

use std::io::{self, Write as _};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clawdbot_identity::text::sanitize_line;
use clawdbot_service::{confinement_json, gaps};
use serde_json::{Value, json};

use crate::home::Refusal;
use crate::log_file::Line;

/// Lines that wait for a screen that does not take them; more are lost.
const WAITING: usize = 256;
/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Where and how to show things.
pub(crate) struct Ui {
    /// Set once the work has begun: from then on a screen that is held must not hold it.
    pub(crate) screen: Option<Screen>,
    pub(crate) json: bool,
    pub(crate) color: bool,
    pub(crate) verbose: bool,
}

/// A process as it is shown.
pub(crate) struct Shown<'a> {
    pub(crate) role: &'a str,
    pub(crate) pid: u32,
    pub(crate) confinement: &'a str,
}

/// Everything is up.
pub(crate) struct Ready<'a> {
    pub(crate) urls: &'a [String],
    pub(crate) state_dir: &'a str,
    pub(crate) processes: &'a [Shown<'a>],
    pub(crate) took: Duration,
}

impl Ui {
    pub(crate) fn starting(&self, state_dir: &str, config: &str) {
        let version = env!("CARGO_PKG_VERSION");
        self.event(&json!({
            "event": "starting", "version": version, "stateDir": state_dir, "config": config,
        }));
        self.person(&format!(
            "{} {version}, state in {}",
            self.bold("clawdbot"),
            sanitize_line(state_dir)
        ));
    }

    /// What is started side by side.
    pub(crate) fn beginning(&self, roles: &[clawdbot_identity::Role]) {
        let names: Vec<&str> = roles.iter().map(AsRef::as_ref).collect();
        self.person(&format!("  starting {}", names.join(", ")));
    }

    /// A process changed: started, ready, ended, restarting or stopped.
    pub(crate) fn process(&self, role: &str, pid: u32, state: &str, detail: &str) {
        self.event(&json!({
            "event": "process", "role": role, "pid": pid, "state": state, "detail": detail,
        }));
        if self.verbose || matches!(state, "ended" | "restarting") {
            self.person(&format!(
                "  {role} {state} {}",
                self.dim(&sanitize_line(detail))
            ));
        }
    }

    pub(crate) fn ready(&self, ready: &Ready<'_>) {
        let processes: Vec<Value> = ready
            .processes
            .iter()
            .map(|p| {
                let none = || json!({ "level": "none" });
                let confinement = confinement_json(p.confinement).unwrap_or_else(none);
                json!({ "role": p.role, "pid": p.pid, "confinement": confinement })
            })
            .collect();
        let url = ready.urls.first().map_or("", String::as_str);
        self.event(&json!({
            "event": "ready", "url": url, "urls": ready.urls, "stateDir": ready.state_dir,
            "processes": processes, "milliseconds": millis(ready.took),
        }));
        self.person(&format!(
            "ready after {} ms: {} processes, confinement {}",
            millis(ready.took),
            ready.processes.len(),
            self.bold(&overall(ready.processes))
        ));
        for shown in ready.processes {
            if self.verbose {
                self.person(&format!(
                    "  {:<14} {}",
                    shown.role,
                    sanitize_line(shown.confinement)
                ));
            }
        }
        let lines = ready.processes.iter().map(|p| (p.role, p.confinement));
        for gap in gaps(lines) {
            let what = self.bold(gap.missing.what);
            let meaning = gap.missing.meaning;
            self.person(&format!(
                "  missing  {what} ({}): {meaning}",
                who(&gap.roles)
            ));
        }
        for url in ready.urls {
            let hint = self.dim("clawdbot open makes the login link");
            self.person(&format!("  web      {}  {hint}", self.bold(url)));
        }
        self.person(&format!(
            "  chat     {}  {}",
            self.bold("clawdbot chat"),
            self.dim("in another terminal")
        ));
        self.person(&format!("  stop     {}", self.bold("Ctrl-C")));
    }

    /// A line that a process wrote.
    pub(crate) fn log(&self, role: &str, line: &Line) {
        if self.verbose || matches!(line.level.as_str(), "error" | "warn") {
            let text = format!("  {role}: {}: {}", line.level, sanitize_line(&line.message));
            self.person(&self.dim(&text));
        }
    }

    /// Something needs a look, but the work goes on.
    pub(crate) fn alarm(&self, message: &str) {
        self.event(&json!({ "event": "alarm", "message": message }));
        self.person(&format!("warning: {}", sanitize_line(message)));
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.event(&json!({
            "event": "error", "message": refusal.message, "remedy": refusal.remedy, "code": refusal.code,
        }));
        if self.json {
            return;
        }
        let message = sanitize_line(&refusal.message);
        let mut text = format!("clawdbot: {message}\n");
        if !refusal.remedy.is_empty() {
            text.push_str(&format!("  remedy: {}\n", sanitize_line(&refusal.remedy)));
        }
        let _lost = io::stderr().lock().write_all(text.as_bytes());
    }

    pub(crate) fn stopping(&self) {
        self.event(&json!({ "event": "stopping" }));
        self.person("stopping");
    }

    pub(crate) fn stopped(&self) {
        self.event(&json!({ "event": "stopped" }));
        self.person("stopped");
    }

    fn event(&self, event: &Value) {
        if self.json {
            self.line(&event.to_string());
        }
    }

    fn person(&self, line: &str) {
        if !self.json {
            self.line(line);
        }
    }

    fn line(&self, line: &str) {
        match &self.screen {
            Some(screen) => screen.show(line),
            None => print(line),
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.color {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.into()
        }
    }

    fn dim(&self, text: &str) -> String {
        if self.color {
            format!("\x1b[2m{text}\x1b[0m")
        } else {
            text.into()
        }
    }
}

/// A screen that went away does not end the work.
fn print(line: &str) {
    let mut out = io::stdout().lock();
    let _lost = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Writes lines in a thread of its own: a terminal that was stopped, or a pipe that nobody reads, holds
/// up nobody else.
pub(crate) struct Screen {
    lines: Option<SyncSender<String>>,
    thread: JoinHandle<()>,
}

impl Screen {
    pub(crate) fn start() -> Self {
        let (lines, waiting) = sync_channel::<String>(WAITING);
        let thread = std::thread::spawn(move || {
            for line in waiting {
                print(&line);
            }
        });
        Self {
            lines: Some(lines),
            thread,
        }
    }

    fn show(&self, line: &str) {
        if let Some(lines) = &self.lines {
            let _full = lines.try_send(line.to_owned());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.lines = None;
        let deadline = Instant::now() + LAST_LINES;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A few by name, many by number.
fn who(roles: &[String]) -> String {
    match roles.len() {
        0..=3 => roles.join(", "),
        count => format!("{count} processes"),
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// The word after `level=`, or `none`.
pub(crate) fn level(line: &str) -> &str {
    clawdbot_service::level(line).unwrap_or("none")
}

/// One word for all: full only if every process is. The supervisor has limits only, by design: what it
/// is bounded by, every tool would inherit.
fn overall(processes: &[Shown<'_>]) -> String {
    let mut weak = processes
        .iter()
        .filter(|shown| shown.role != "supervisor")
        .map(|shown| (shown.role, level(shown.confinement)))
        .filter(|(_, level)| *level != "full")
        .peekable();
    if weak.peek().is_none() {
        return String::from("full");
    }
    weak.map(|(role, level)| format!("{role} {level}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_weak_process_is_named_and_the_supervisor_does_not_count() {
        let shown = |role, confinement| Shown {
            role,
            pid: 1,
            confinement,
        };
        let good = [
            shown("policy", "level=full"),
            shown("supervisor", "level=limits"),
        ];
        assert_eq!(overall(&good), "full");
        let weak = [
            shown("policy", "level=full"),
            shown("broker", "level=none"),
            shown("gateway", "level=limits"),
        ];
        assert_eq!(overall(&weak), "broker none, gateway limits");
    }
}
