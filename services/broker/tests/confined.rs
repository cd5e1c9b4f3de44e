//! The real program under its own landlock rules and seccomp filter: a vault is made, written and opened again after a
//! `kill -9`, with a keyring and without one. As root this is not tried, since the program refuses to be root.

// Helpers outside of #[test] functions may fail like these do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_confine::spawn::{Child, Leash, Program, Signal, spawn};
use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_proto::v1::broker_operator_client::BrokerOperatorClient;
use clawdbot_proto::v1::control_frame::Frame;
use clawdbot_proto::v1::credentials_client::CredentialsClient;
use clawdbot_proto::v1::descriptor::What;
use clawdbot_proto::v1::keyring_reply::Outcome;
use clawdbot_proto::v1::leases_client::LeasesClient;
use clawdbot_service::Edge;
use prost::Message as _;

/// What the supervisor's helper knows: the key, once it was kept; nobody helps without one.
type Keyring = Option<Arc<Mutex<Vec<u8>>>>;

/// A running broker and the supervisor's end of its control descriptor.
struct Broker {
    child: Child,
    control: UnixStream,
    log: std::io::PipeReader,
}

impl Broker {
    fn start(state: &Path, keyring: Keyring) -> Self {
        let built = std::env::var("CARGO_BIN_EXE_clawdbot-broker").unwrap();
        let program = Program::open(Path::new(&built)).unwrap();
        let (control, theirs) = UnixStream::pair().unwrap();
        let (log, log_end) = std::io::pipe().unwrap();
        let log_end = OwnedFd::from(log_end);
        let argv = ["clawdbot-broker"];
        let child = spawn(&program, &argv, theirs.into(), log_end, Leash::Parent).unwrap();
        let setup = v1::Setup {
            role: "broker".into(),
            state_dir: state.to_str().unwrap().into(),
            log_level: "info".into(),
            ..v1::Setup::default()
        };
        send(&control, Frame::Setup(setup), None);
        let ours = control.try_clone().unwrap();
        std::thread::spawn(move || supervise(&ours, &keyring));
        Self {
            child,
            control,
            log,
        }
    }

    fn edge(&self, client: &str) -> Edge {
        let (ours, theirs) = UnixStream::pair().unwrap();
        give(&self.control, What::Serves(client.into()), &theirs);
        let (edge, handover) = Edge::handed(Role::parse(client).unwrap(), Role::broker());
        handover.give(ours);
        edge
    }

    /// Brings a configuration without secrets.
    async fn configure(&self) {
        let policy = self.edge("policy");
        send(&self.control, Frame::SetupDone(v1::SetupDone {}), None);
        let load = v1::LoadRequest {
            revision: 1,
            entries: vec![],
            audiences: vec![],
            ..v1::LoadRequest::default()
        };
        CredentialsClient::new(policy).load(load).await.unwrap();
    }

    /// Kills it as a crash would; what it said.
    fn kill(mut self) -> String {
        self.child.kill(Signal::KILL).unwrap();
        self.child.wait().unwrap();
        let mut said = String::new();
        self.log.read_to_string(&mut said).unwrap();
        said
    }
}

fn send(control: &UnixStream, frame: Frame, fd: Option<&dyn AsFd>) {
    let payload = v1::ControlFrame { frame: Some(frame) }.encode_to_vec();
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    frame::send(control, &payload, &fds).unwrap();
}

fn give(control: &UnixStream, what: What, fd: &dyn AsFd) {
    let what = v1::Descriptor { what: Some(what) };
    send(control, Frame::Descriptor(what), Some(fd));
}

/// Plays the helper whenever the broker wants one.
fn supervise(control: &UnixStream, keyring: &Keyring) {
    let mut reader = FrameReader::new();
    while let Ok(Progress::Frame(frame)) = reader.read_from(control) {
        let frame = v1::ChildFrame::decode(frame.payload.as_slice()).unwrap();
        if frame.frame != Some(v1::child_frame::Frame::Keyring(true)) {
            continue;
        }
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        give(control, What::File("keyring".into()), &theirs);
        drop(theirs);
        let Some(keyring) = keyring else {
            continue;
        };
        let mut request = Vec::new();
        ours.read_to_end(&mut request).unwrap();
        let request = v1::KeyringRequest::decode_length_delimited(request.as_slice()).unwrap();
        let mut key = keyring.lock().unwrap();
        if !request.store.is_empty() {
            key.clone_from(&request.store);
        }
        let outcome = Some(Outcome::Key(key.clone()));
        let reply = v1::KeyringReply { outcome }.encode_length_delimited_to_vec();
        ours.write_all(&reply).unwrap();
    }
}

#[tokio::test]
async fn the_confined_program_keeps_its_vault_over_a_crash() {
    if rustix::process::geteuid().is_root() {
        println!(
            "SKIPPED the_confined_program_keeps_its_vault_over_a_crash: the program refuses to be root"
        );
        return;
    }
    for (keyring, source) in [(Some(Arc::default()), "keyring"), (None, "file")] {
        let state = tempfile::tempdir().unwrap();
        let broker = Broker::start(state.path(), keyring.clone());
        broker.configure().await;
        let mut operator = BrokerOperatorClient::new(broker.edge("operator"));
        let request = |secret: &str| v1::PutCredentialRequest {
            owner: "model-anthropic".into(),
            secret: secret.into(),
            ..v1::PutCredentialRequest::default()
        };
        operator.put(request("canary-one")).await.unwrap();
        let stored = operator.put(request("canary-two")).await.unwrap();
        let stored = stored.into_inner();
        assert!(stored.replaced);
        let said = broker.kill();
        assert!(said.contains("confined"), "{said}");
        assert!(!said.contains("canary"), "{said}");

        let broker = Broker::start(state.path(), keyring);
        broker.configure().await;
        let mut leases = LeasesClient::new(broker.edge("model-anthropic"));
        let lease = leases
            .lease(v1::LeaseRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(lease.version, stored.version);
        assert!(lease.secrets[0].secret == b"canary-two");
        let mut operator = BrokerOperatorClient::new(broker.edge("operator"));
        let list = operator.list(v1::ListCredentialsRequest {}).await.unwrap();
        assert_eq!(list.into_inner().vault.unwrap().key_source, source);
        let other = LeasesClient::new(broker.edge("channel-telegram"))
            .lease(v1::LeaseRequest {})
            .await;
        let refused = other.map(drop).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::NotFound);
        broker.kill();
    }
}
