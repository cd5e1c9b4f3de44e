//! The running product: `clawdbot up --json` in a scratch home, its events, and talks over gateway.sock
//! that go on when processes die.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clawdbot_identity::Role;
use clawdbot_proto::v1::chat_client::ChatClient;
use clawdbot_proto::v1::{ChatEvent, HistoryRequest, SendRequest, chat_event};
use clawdbot_service::Edge;
use rustix::process::Signal;
use serde_json::Value;

use crate::kernel::Seen;
use crate::{Scratch, binary, free_port};

/// Longest wait for an event; far above what anything takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to start the product.
pub struct Start {
    through: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    port: u16,
}

impl Default for Start {
    fn default() -> Self {
        Self::new()
    }
}

impl Start {
    /// On a free port, with nothing else said.
    pub fn new() -> Self {
        Self {
            through: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            port: free_port(),
        }
    }

    /// On a kernel that lacks something: names that `clawdbot-simulate` knows, with commas.
    #[must_use]
    pub fn under(mut self, kernel: &str) -> Self {
        let simulate = binary("clawdbot-simulate");
        self.through = vec![simulate.display().to_string(), kernel.into(), "--".into()];
        self
    }

    /// From a shell that has left a descriptor open, for whatever it starts.
    #[must_use]
    pub fn with_a_stray_descriptor(mut self) -> Self {
        let script = "exec 9</dev/zero; exec \"$@\"";
        self.through = ["/bin/bash", "-c", script, "bash"].map(Into::into).to_vec();
        self
    }

    /// On this port.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// With a further argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn command(&self, scratch: &Scratch) -> Command {
        let mut command = scratch.program("clawdbot");
        if let [first, rest @ ..] = self.through.as_slice() {
            command = scratch.program_at(Path::new(first));
            command.args(rest).arg(binary("clawdbot"));
        }
        command
            .args(["up", "--json", "--port", &self.port.to_string()])
            .args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts with a small pipe for its output that nobody ever reads.
    #[cfg(target_os = "linux")]
    pub fn begin_unread(self, scratch: &Scratch) -> Product {
        let (kept, output) = std::io::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&kept, 4096).unwrap();
        let mut command = self.command(scratch);
        let child = command
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Kept open by a channel that lives as long as the product.
        let (sender, events) = channel();
        std::thread::spawn(move || {
            let _kept = kept;
            while sender.send(Value::Null).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Product {
            child,
            events,
            filtered: Filtered::default(),
            ready: Value::Null,
            state: scratch.state(),
            port: self.port,
        }
    }

    /// Starts and does not wait.
    pub fn begin(self, scratch: &Scratch) -> Product {
        let mut child = self.command(scratch).spawn().unwrap();
        let (sender, events) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let filtered = Filtered::default();
        let seen = Arc::clone(&filtered);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                seen.lock().unwrap().extend(ended_by_filter(&event));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Product {
            child,
            events,
            filtered,
            ready: Value::Null,
            state: scratch.state(),
            port: self.port,
        }
    }

    /// Starts and waits until everything is up.
    #[track_caller]
    pub fn up(self, scratch: &Scratch) -> Product {
        let mut product = self.begin(scratch);
        product.ready = product.event("ready");
        product
    }
}

/// Processes that did what their filter kills for. It is never right: what is refused on purpose has an answer.
type Filtered = Arc<Mutex<Vec<String>>>;

fn ended_by_filter(event: &Value) -> Option<String> {
    let how = event["detail"].as_str()?;
    let filtered = event["event"] == "process" && how == "killed by signal 31";
    filtered.then(|| format!("{}, {how}", event["role"].as_str().unwrap_or("somebody")))
}

/// The product while it runs. Dropping it kills the supervisor, and with it all.
pub struct Product {
    child: Child,
    events: Receiver<Value>,
    filtered: Filtered,
    /// The event `ready`.
    pub ready: Value,
    state: PathBuf,
    /// Port of the front door.
    pub port: u16,
}

impl Product {
    /// The supervisor's number; `clawdbot up` becomes the supervisor.
    pub fn supervisor(&self) -> Seen {
        Seen(self.child.id())
    }

    /// Processes that the kernel killed for a system call so far, with the time to come.
    pub fn ended_by_filter(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.filtered)
    }

    #[track_caller]
    fn no_filter_struck(&self) {
        let struck = self.filtered.lock().unwrap();
        assert!(struck.is_empty(), "ended by its own filter: {struck:?}");
    }

    /// The next event of a kind.
    #[track_caller]
    pub fn event(&mut self, kind: &str) -> Value {
        self.event_where(kind, |_| true)
    }

    /// The next event of a kind for which something holds.
    #[track_caller]
    pub fn event_where(&mut self, kind: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) if event["event"] == kind && holds(&event) => return event,
                Ok(event) => {
                    self.no_filter_struck();
                    seen.push(event);
                }
                Err(_) => panic!("no event {kind}; {}\n{}", self.log(), render(&seen)),
            }
        }
    }

    /// Everything that it has printed and nobody has read yet.
    pub fn said(&mut self) -> String {
        self.events
            .try_iter()
            .map(|event| format!("{event}\n"))
            .collect()
    }

    /// The processes of the event `ready`: role and number.
    pub fn processes(&self) -> Vec<(String, Seen)> {
        let all = self.ready["processes"].as_array().unwrap();
        all.iter()
            .map(|process| {
                let pid = process["pid"]
                    .as_u64()
                    .and_then(|pid| u32::try_from(pid).ok())
                    .unwrap();
                (process["role"].as_str().unwrap().to_owned(), Seen(pid))
            })
            .collect()
    }

    /// The number of a process at the start.
    #[track_caller]
    pub fn process(&self, role: &str) -> Seen {
        let found = self.processes().into_iter().find(|(name, _)| name == role);
        found.unwrap_or_else(|| panic!("no process {role}")).1
    }

    /// Kills a process and waits until its successor is ready; the successor's number.
    #[track_caller]
    pub fn kill(&mut self, role: &str, pid: Seen) -> Seen {
        pid.signal(Signal::KILL);
        self.event_where("process", |e| e["role"] == role && e["state"] == "ended");
        let ready = self.event_where("process", |e| e["role"] == role && e["state"] == "ready");
        Seen(u32::try_from(ready["pid"].as_u64().unwrap()).unwrap())
    }

    /// A talk over gateway.sock.
    pub fn talk(&self) -> Conversation {
        Conversation::at(&self.state)
    }

    /// Asks to stop and waits for the end; the exit status.
    #[track_caller]
    pub fn stop(mut self) -> Option<i32> {
        self.supervisor().signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end; the exit status.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "did not end; {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops everything. Every address that the dialer connected to, by its own record, which is written when all have ended.
    #[track_caller]
    pub fn all_dialled(&mut self) -> Vec<String> {
        self.supervisor().signal(Signal::TERM);
        assert_eq!(self.wait(), Some(0));
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["role"] == "dialer" && line["message"] == "dial")
            .map(|line| line["peer"].as_str().unwrap_or("nothing").to_owned())
            .collect()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state.join("gateway.log")).unwrap_or_default()
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if !std::thread::panicking() {
            self.no_filter_struck();
        }
    }
}

fn render(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// Talks over gateway.sock and resumes by message id when the gateway was restarted.
#[derive(Clone)]
pub struct Conversation {
    client: ChatClient<Edge>,
}

impl Conversation {
    /// With the gateway of a state directory.
    pub fn at(state: &std::path::Path) -> Self {
        Self::through(state.join("run/gateway.sock"))
    }

    /// With the gateway behind an operator's socket.
    pub fn through(path: PathBuf) -> Self {
        let edge = Edge::to_path(path, Role::operator(), Role::gateway(), PATIENCE);
        Self {
            client: ChatClient::new(edge),
        }
    }

    /// One try: all events of a message, until the answer or until the connection is lost.
    pub async fn send(
        &mut self,
        id: &str,
        session: &str,
        text: &str,
    ) -> Result<Vec<chat_event::Event>, tonic::Status> {
        let request = SendRequest {
            message_id: id.into(),
            session: session.into(),
            text: text.into(),
        };
        let mut stream = self.client.send(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(ChatEvent { event }) = stream.message().await? {
            events.extend(event);
        }
        Ok(events)
    }

    /// The answer to a message, asked for with the same id until it comes. Panics when it fails.
    pub async fn answer(&mut self, id: &str, session: &str, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.send(id, session, text).await {
                Ok(events) => match events.into_iter().last() {
                    Some(chat_event::Event::Answer(answer)) => return answer.text,
                    other => panic!("message {id}: {other:?}"),
                },
                Err(status) => {
                    let again = matches!(
                        status.code(),
                        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled
                    );
                    assert!(
                        again && Instant::now() < deadline,
                        "message {id}: {status:?}"
                    );
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// What was asked in a session, the oldest first.
    pub async fn questions(&mut self, session: &str) -> Vec<String> {
        let request = HistoryRequest {
            session: session.into(),
            limit: 1000,
        };
        let history = self.client.history(request).await.unwrap().into_inner();
        let asked = history
            .entries
            .into_iter()
            .filter(|entry| entry.role == "user");
        asked.map(|entry| entry.text).collect()
    }

    /// The client itself.
    pub fn client(&mut self) -> &mut ChatClient<Edge> {
        &mut self.client
    }
}
