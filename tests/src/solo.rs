//! One process by itself, with every end of its edges in the test's hand: the test plays supervisor and
//! all peers, which is how calls that no honest peer makes can be made.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_confine::spawn::{Child, Exit, Leash, Program, Signal, spawn};
use clawdbot_proto::v1::{
    ChildFrame, ControlFrame, Descriptor, Setup, SetupDone, child_frame, control_frame, descriptor,
};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;

use crate::{Scratch, binary};

/// A started process and its control descriptor.
pub struct Solo {
    child: Child,
    control: UnixStream,
    reader: FrameReader,
    log: PathBuf,
}

impl Solo {
    /// Starts the program of a role. It waits for [`Solo::done`].
    pub fn start(role: &str, scratch: &Scratch) -> Self {
        Self::start_over(UnixStream::pair().unwrap(), role, scratch)
    }

    /// Starts it with a control descriptor on which there is no room for a single word until the test reads.
    pub fn start_unheard(role: &str, scratch: &Scratch) -> Self {
        let (control, mut theirs) = UnixStream::pair().unwrap();
        let noise = child_frame::Frame::Notify("WATCHDOG=1".into());
        let payload = ChildFrame { frame: Some(noise) }.encode_to_vec();
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let frame = [&length[..], &[0], &payload].concat();
        theirs.set_nonblocking(true).unwrap();
        // The kernel takes so little as a whole or not at all.
        while theirs.write(&frame).is_ok() {}
        theirs.set_nonblocking(false).unwrap();
        Self::start_over((control, theirs), role, scratch)
    }

    fn start_over(control: (UnixStream, UnixStream), role: &str, scratch: &Scratch) -> Self {
        let family = role.split('-').next().unwrap();
        let name = format!("clawdbot-{family}");
        let log_path = scratch.path().join(format!("{role}.log"));
        let log = crate::log_pipe(&log_path);
        let instance = role.split_once('-').map(|(_, instance)| instance);
        let argv: Vec<&str> = [name.as_str()].into_iter().chain(instance).collect();
        let state_dir = scratch.state().to_string_lossy().into_owned();
        let setup = Setup {
            role: role.into(),
            config_path: format!("{state_dir}/clawdbot.json"),
            state_dir,
            home_dir: scratch.home().to_string_lossy().into_owned(),
            port: 0,
            log_level: "debug".into(),
            sandbox_require: "available".into(),
            workspaces: Vec::new(),
        };
        let mut solo = Self::launch(control, &binary(&name), &argv, setup, log);
        solo.log = log_path;
        solo
    }

    /// Starts any program as the supervisor starts a service; what it writes goes to `log`.
    pub fn begin(program: &Path, argv: &[&str], setup: Setup, log: OwnedFd) -> Self {
        Self::launch(UnixStream::pair().unwrap(), program, argv, setup, log)
    }

    fn launch(
        (control, theirs): (UnixStream, UnixStream),
        program: &Path,
        argv: &[&str],
        setup: Setup,
        log: OwnedFd,
    ) -> Self {
        let program = Program::open(program).unwrap();
        let child = spawn(&program, argv, theirs.into(), log, Leash::Parent).unwrap();
        let solo = Self {
            child,
            control,
            reader: FrameReader::new(),
            log: PathBuf::new(),
        };
        let config = (setup.role == "policy").then(|| std::fs::File::open(&setup.config_path));
        solo.send(control_frame::Frame::Setup(setup), None);
        if let Some(Ok(file)) = config {
            solo.give(descriptor::What::File("config".into()), file.into());
        }
        solo
    }

    fn send(&self, frame: control_frame::Frame, fd: Option<OwnedFd>) {
        let payload = ControlFrame { frame: Some(frame) }.encode_to_vec();
        let fds: Vec<_> = fd.iter().map(OwnedFd::as_fd).collect();
        frame::send(&self.control, &payload, &fds).unwrap();
    }

    /// An edge on which `client` calls this process; the client's end.
    pub fn serves(&self, client: &str) -> UnixStream {
        self.edge(descriptor::What::Serves(client.into()))
    }

    /// An edge on which this process calls `server`; the server's end.
    pub fn calls(&self, server: &str) -> UnixStream {
        self.edge(descriptor::What::Calls(server.into()))
    }

    fn edge(&self, what: descriptor::What) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.give(what, theirs.into());
        ours
    }

    /// Hands over a descriptor.
    pub fn give(&self, what: descriptor::What, fd: OwnedFd) {
        let what = Descriptor { what: Some(what) };
        self.send(control_frame::Frame::Descriptor(what), Some(fd));
    }

    /// Everything has been handed over.
    pub fn done(&self) {
        self.send(control_frame::Frame::SetupDone(SetupDone {}), None);
    }

    /// The next notification whose lines have this prefix.
    #[track_caller]
    pub fn notified(&mut self, prefix: &str) -> String {
        loop {
            match self.reader.read_from(&self.control).unwrap() {
                Progress::Frame(frame) => {
                    let message = ChildFrame::decode(frame.payload.as_slice()).unwrap();
                    let Some(child_frame::Frame::Notify(lines)) = message.frame else {
                        continue;
                    };
                    if let Some(line) = lines.lines().find(|line| line.starts_with(prefix)) {
                        return line.to_owned();
                    }
                }
                Progress::Closed => panic!("the process ended: {:?}", self.child.wait()),
            }
        }
    }

    /// The next server whose connection the process says it lost.
    #[track_caller]
    pub fn edge_lost(&mut self) -> String {
        loop {
            match self.reader.read_from(&self.control).unwrap() {
                Progress::Frame(frame) => {
                    let message = ChildFrame::decode(frame.payload.as_slice()).unwrap();
                    if let Some(child_frame::Frame::EdgeLost(server)) = message.frame {
                        return server;
                    }
                }
                Progress::Closed => panic!("the process ended: {:?}", self.child.wait()),
            }
        }
    }

    /// Waits until the process asks for the configuration file.
    #[track_caller]
    pub fn config_wanted(&mut self) {
        loop {
            match self.reader.read_from(&self.control).unwrap() {
                Progress::Frame(frame) => {
                    let message = ChildFrame::decode(frame.payload.as_slice()).unwrap();
                    if let Some(child_frame::Frame::Config(_)) = message.frame {
                        return;
                    }
                }
                Progress::Closed => panic!("the process ended: {:?}", self.child.wait()),
            }
        }
    }

    /// Answers that with the system's answer instead of the file.
    pub fn no_config(&self, number: i32) {
        self.send(control_frame::Frame::NoConfig(number), None);
    }

    /// What the process wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> Exit {
        self.child.wait().unwrap()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        let _gone = self.child.kill(Signal::KILL);
        let _gone = self.child.wait();
    }
}

/// Calls a method with an empty message, past every check of an honest client. The gRPC status and its
/// message.
pub async fn call_raw(stream: &UnixStream, path: &str) -> (i32, String) {
    call_with(stream, path, &[]).await
}

/// Calls a method with the given message bytes. The gRPC status and its message; -1 when the
/// connection ended instead.
pub async fn call_with(stream: &UnixStream, path: &str, message: &[u8]) -> (i32, String) {
    let stream = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let io = TokioIo::new(tokio::net::UnixStream::from_std(stream).unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.unwrap();
    let driver = tokio::spawn(connection);
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let request = Request::post(format!("http://edge{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed)))
        .unwrap();
    let outcome = async {
        let response = sender.send_request(request).await.ok()?;
        let (head, body) = response.into_parts();
        if let Some(status) = status_of(&head.headers) {
            return Some(status);
        }
        let trailers = body.collect().await.ok()?.trailers().cloned()?;
        status_of(&trailers)
    }
    .await;
    driver.abort();
    outcome.unwrap_or((-1, String::new()))
}

fn status_of(headers: &http::HeaderMap) -> Option<(i32, String)> {
    let status = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers
        .get("grpc-message")
        .and_then(|value| value.to_str().ok());
    Some((status, message.unwrap_or_default().to_owned()))
}
