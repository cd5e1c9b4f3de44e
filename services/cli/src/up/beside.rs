//! The supervisor beside a chat: its own process group, so that Ctrl-C in the chat is the chat's, and a pipe on which
//! it tells what happens. However the chat ends, the supervisor is asked to stop and waited for.

use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawdbot_identity::text::sanitize_line;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::select;
use tokio::signal::ctrl_c;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::event::{Event, parse};
use crate::chat::{Chat, until_ended};
use crate::dial::{Server, Sockets};
use crate::failure::{EXIT_FAILURE, EXIT_NOT_RUNNING, Failure, NOT_RUNNING};
use crate::out::Out;

/// How long the supervisor may take to stop; it promises two seconds.
const STOP: Duration = Duration::from_secs(5);

/// Starts the supervisor, chats, and stops it. One that runs already is used and left alone.
pub async fn chat(command: Command, mut chat: Chat, out: Out) -> Result<u8, Failure> {
    match chat.sockets.open(Server::Gateway).await {
        Ok(_) => return until_ended(chat.talk()).await,
        Err(failure) if failure.code == NOT_RUNNING => {}
        Err(failure) => return Err(failure),
    }
    let mut beside = Beside::start(command, out)?;
    let done = until_ended(beside.talk(&mut chat)).await;
    beside.stop().await?;
    done
}

struct Beside {
    child: Child,
    events: UnboundedReceiver<Event>,
    /// The chat has the terminal: what the supervisor writes to its error stream is in the log as well.
    quiet: Arc<AtomicBool>,
    /// The error that it told last, and what to do about it.
    last_word: Option<(String, Option<String>)>,
    out: Out,
}

impl Beside {
    fn start(command: Command, out: Out) -> Result<Self, Failure> {
        let program = command.get_program().display().to_string();
        let mut command = tokio::process::Command::from(command);
        command.arg("--json").process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            Failure::new(
                "supervisor",
                format!("{program} cannot be started: {error}"),
            )
        })?;
        let quiet = Arc::new(AtomicBool::new(false));
        let (sender, events) = unbounded_channel();
        if let Some(stdout) = child.stdout.take() {
            lines(stdout, move |line| {
                if let Some(event) = parse(line) {
                    // Nobody listens any more once the chat is over.
                    let _over = sender.send(event);
                }
            });
        }
        if let Some(stderr) = child.stderr.take() {
            let quiet = Arc::clone(&quiet);
            lines(stderr, move |line| {
                if !quiet.load(Ordering::Relaxed) {
                    out.remark(&sanitize_line(line));
                }
            });
        }
        Ok(Self {
            child,
            events,
            quiet,
            last_word: None,
            out,
        })
    }

    async fn talk(&mut self, chat: &mut Chat) -> Result<u8, Failure> {
        self.ready(chat).await?;
        self.quiet.store(true, Ordering::Relaxed);
        select! {
            done = chat.talk() => done,
            ended = self.child.wait() => Err(self.ended(ended?, "the assistant stopped")),
        }
    }

    async fn ready(&mut self, chat: &mut Chat) -> Result<(), Failure> {
        self.out.remark(&self.out.err.dim("starting…"));
        loop {
            let event = select! {
                event = self.events.recv() => event,
                pressed = ctrl_c() => {
                    pressed?;
                    return Err(Failure::new("interrupted", "interrupted").exit(130));
                }
            };
            match event {
                Some(Event::Ready { url, state_dir }) => {
                    chat.sockets = Sockets::new(state_dir.into());
                    self.out.remark(&format!(
                        "{} {}",
                        self.out.err.green("ready:"),
                        sanitize_line(&url)
                    ));
                    return Ok(());
                }
                Some(Event::Process { role, state }) if self.out.verbose => {
                    self.out.remark(
                        &self
                            .out
                            .err
                            .dim(&sanitize_line(&format!("{role}: {state}"))),
                    );
                }
                Some(Event::Process { .. }) => {}
                // It ends if it cannot go on; until then it may still become ready.
                Some(Event::Error { message, remedy }) => self.last_word = Some((message, remedy)),
                None => {
                    let status = self.child.wait().await?;
                    return Err(self.ended(status, "the assistant did not start"));
                }
            }
        }
    }

    /// Why the supervisor is gone: its own last word, if it had one.
    fn ended(&mut self, status: ExitStatus, what: &str) -> Failure {
        while let Ok(event) = self.events.try_recv() {
            if let Event::Error { message, remedy } = event {
                self.last_word = Some((message, remedy));
            }
        }
        let failure = match self.last_word.take() {
            Some((message, remedy)) => Failure {
                remedy,
                ..Failure::new("supervisor", message)
            },
            None => Failure::new("supervisor", format!("{what} ({status})"))
                .remedy("`clawdbot logs` shows why, `clawdbot up` starts it again"),
        };
        failure.exit(code(status))
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        // Without an id it has ended and been waited for.
        let Some(pid) = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
        else {
            return Ok(());
        };
        kill_process(pid, Signal::TERM).map_err(std::io::Error::from)?;
        if timeout(STOP, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// The supervisor's own exit status; one that says "well" or "killed" is a failure here all the same.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.filter(|code| *code != 0)
        .unwrap_or(if status.success() {
            EXIT_NOT_RUNNING
        } else {
            EXIT_FAILURE
        })
}

/// Hands over the lines of `from` until it ends.
fn lines(
    from: impl AsyncRead + Unpin + Send + 'static,
    mut take: impl FnMut(&str) + Send + 'static,
) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            take(&line);
        }
    });
}
