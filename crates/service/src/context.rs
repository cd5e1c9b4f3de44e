//! What a running process has: its edges, its slice of the configuration, its status line, and the
//! news that it should end.

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use clawdbot_confine::measure::Confinement;
use clawdbot_identity::Role;
use clawdbot_proto::v1::{DialerReply, DialerRequest};
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::callers::Callers;
use crate::confinement::{join_status, level, shortfall};
use crate::frames::{CONCURRENT, FrameHandler, serve_frames};
use crate::gate::Gates;
use crate::inherit::{Inherited, Way};
use crate::pulse::{Pulse, Pulses, feed_watchdog};
use crate::source::{Slots, Source};
use crate::{FrameClient, FrameMessage, Notifier, ServeError, StartError, control, log, system};

#[cfg(feature = "grpc")]
mod grpc;
#[cfg(test)]
mod tests;

#[cfg(feature = "grpc")]
pub use grpc::serve_socket;

/// How long the work of a process that the service manager ends may go on; after a few seconds more the manager kills it.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the supervisor may take to open a file.
const CONFIG_PATIENCE: Duration = Duration::from_secs(5);
/// Between two lines about refused callers of one socket.
const NEWS: Duration = Duration::from_secs(1);

/// A listening socket of the front door.
pub struct Listener {
    /// The address it is bound to.
    pub address: SocketAddr,
    /// The socket itself.
    pub socket: TcpListener,
}

/// The news that the process should end in good order.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Waits until the process should end.
    pub async fn wait(&self) {
        let mut news = self.0.clone();
        // An error means that the sender is gone, which ends the process as well.
        let _over = news.wait_for(|over| *over).await;
    }
}

/// What a running process has. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    role: Role,
    notifier: Notifier,
    confinement: String,
    peers: Peers,
    incoming: Mutex<Option<mpsc::UnboundedReceiver<Incoming>>>,
    listeners: watch::Receiver<Vec<Arc<Listener>>>,
    shutdown: watch::Sender<bool>,
    /// Why the process may not go on.
    refusal: OnceLock<StartError>,
    pulses: Pulses,
    #[cfg(feature = "grpc")]
    grpc: grpc::Grpc,
    dialer: OnceLock<FrameClient<DialerRequest, DialerReply>>,
    keyring: tokio::sync::Mutex<mpsc::UnboundedReceiver<StdStream>>,
    config: tokio::sync::Mutex<mpsc::UnboundedReceiver<io::Result<File>>>,
}

/// Where other processes are found.
pub(crate) enum Peers {
    Handed(Arc<Slots>),
    Sockets { runtime: PathBuf, callers: Callers },
}

/// Whoever comes to this process: one connected stream, or a socket where many arrive.
pub(crate) enum Incoming {
    Stream(Role, StdStream),
    Socket(Role, StdListener),
}

/// The ends of [`Context`]'s channels that the control task holds.
pub(crate) struct Feeds {
    pub(crate) slots: Arc<Slots>,
    pub(crate) incoming: mpsc::UnboundedSender<Incoming>,
    pub(crate) listeners: watch::Sender<Vec<Arc<Listener>>>,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) keyring: mpsc::UnboundedSender<StdStream>,
    pub(crate) config: mpsc::UnboundedSender<io::Result<File>>,
    pub(crate) orphaned: Arc<AtomicBool>,
}

impl Context {
    /// Must be called inside the runtime. `termination` becomes readable when the service manager ends the process.
    pub(crate) fn new(
        inherited: Inherited,
        confinement: &Confinement,
        termination: Option<OwnedFd>,
    ) -> Result<Self, ServeError> {
        let (incoming, incoming_rx) = mpsc::unbounded_channel();
        let (listeners, listeners_rx) = watch::channel(Vec::new());
        let shutdown = watch::Sender::new(false);
        let (keyring, keyring_rx) = mpsc::unbounded_channel();
        let (config, config_rx) = mpsc::unbounded_channel();
        let slots = Arc::new(Slots::new(inherited.notifier.clone()));
        let feeds = Feeds {
            slots: Arc::clone(&slots),
            incoming,
            listeners,
            shutdown: shutdown.clone(),
            keyring,
            config,
            orphaned: inherited.orphaned,
        };
        feeds.give(inherited.brought)?;
        let peers = match inherited.way {
            Way::Control { stream, reader } => {
                tokio::spawn(control::follow(stream, reader, feeds));
                Peers::Handed(slots)
            }
            Way::Sockets { runtime, callers } => {
                let notifier = inherited.notifier.clone();
                tokio::spawn(follow_manager(termination, feeds, notifier));
                Peers::Sockets { runtime, callers }
            }
        };
        let pulses = Pulses::default();
        tokio::spawn(feed_watchdog(inherited.notifier.clone(), pulses.clone()));
        tokio::spawn(inherited.notifier.clone().deliver());
        Ok(Self(Arc::new(Inner {
            role: inherited.role,
            notifier: inherited.notifier,
            confinement: confinement.to_line(),
            peers,
            incoming: Mutex::new(Some(incoming_rx)),
            listeners: listeners_rx,
            shutdown,
            refusal: OnceLock::new(),
            pulses,
            #[cfg(feature = "grpc")]
            grpc: grpc::Grpc::default(),
            dialer: OnceLock::new(),
            keyring: tokio::sync::Mutex::new(keyring_rx),
            config: tokio::sync::Mutex::new(config_rx),
        })))
    }

    /// Who this process is on its edges.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.0.role
    }

    /// The frame edge on which this process calls the dialer: one connection.
    #[must_use]
    pub fn dialer(&self) -> FrameClient<DialerRequest, DialerReply> {
        let server = Role::dialer();
        let made = || FrameClient::new(self.0.role.clone(), server.clone(), self.source(&server));
        self.0.dialer.get_or_init(made).clone()
    }

    fn source(&self, server: &Role) -> Source {
        match &self.0.peers {
            Peers::Handed(slots) => Source::Handed(slots.of(server)),
            Peers::Sockets { runtime, .. } => {
                Source::activating(system::socket_in(runtime, server, &self.0.role))
            }
        }
    }

    /// A connection to a helper that can reach the user's keyring, started for this one request. Only the broker's
    /// wish is heard. One call at a time; how long to wait is the caller's business.
    ///
    /// # Errors
    /// When nobody here can start one: the service manager cannot.
    pub async fn keyring(&self) -> io::Result<StdStream> {
        let mut helpers = self.0.keyring.lock().await;
        // One that came too late for its caller.
        while helpers.try_recv().is_ok() {}
        let unsupported = |error: io::Error| match error.kind() {
            io::ErrorKind::Unsupported => io::Error::new(
                io::ErrorKind::Unsupported,
                "there is no keyring where the service manager starts the processes",
            ),
            _ => error,
        };
        self.0.notifier.keyring().map_err(unsupported)?;
        let arrived = helpers.recv().await;
        arrived.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// The configuration file as it is now, opened for reading by the supervisor, since its folder holds what is none of
    /// policy's business. Only policy's wish is heard. One call at a time.
    ///
    /// # Errors
    /// The system's answer when the file cannot be opened; `Unsupported` where the service manager starts the processes and
    /// the file's own folder is within reach; `TimedOut` when the supervisor does not answer.
    pub async fn config_file(&self) -> io::Result<File> {
        let mut files = self.0.config.lock().await;
        // One that came too late for its caller.
        while files.try_recv().is_ok() {}
        self.0.notifier.config()?;
        let arrived = tokio::time::timeout(CONFIG_PATIENCE, files.recv()).await;
        arrived
            .map_err(|_| io::ErrorKind::TimedOut)?
            .ok_or(io::ErrorKind::BrokenPipe)?
    }

    /// The front door's listening sockets, as they come and go.
    #[must_use]
    pub fn listeners(&self) -> watch::Receiver<Vec<Arc<Listener>>> {
        self.0.listeners.clone()
    }

    /// The news that the process should end.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.0.shutdown.subscribe())
    }

    /// Whether a service manager starts the processes. Then nobody waits for anybody: whoever is called and does not run yet
    /// is started by the call.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        matches!(self.0.peers, Peers::Sockets { .. })
    }

    /// A piece of work that has to get on while it is under way, lest the process be ended and started anew. `patience`: how
    /// long it may take from one step to the next.
    #[must_use]
    pub fn pulse(&self, name: &str, patience: Duration) -> Pulse {
        self.0.pulses.add(name, patience)
    }

    /// All of them, for work that comes and goes.
    #[must_use]
    pub fn pulses(&self) -> &Pulses {
        &self.0.pulses
    }

    /// Ends the process in good order, since there is nothing to do for it: exit status 0.
    pub fn finish(&self, reason: &str) {
        info!("{reason}");
        self.status(reason);
        self.0.shutdown.send_replace(true);
    }

    /// Does what policy says of the log and of how much confinement is enough, where no supervisor sees to both. Whoever
    /// lacks confinement ends with exit status 78. Empty words change nothing.
    pub fn obey(&self, log_level: &str, sandbox_require: &str) {
        if !self.is_managed() {
            return;
        }
        log::set_level(log_level);
        if sandbox_require == "full" && level(&self.0.confinement) != Some("full") {
            let (message, remedy) = shortfall(self.0.role.as_str(), &self.0.confinement);
            let refusal = StartError::config(format!("{message}; {remedy}"));
            self.status(&refusal.to_string());
            // The first reason stays.
            let _known = self.0.refusal.set(refusal);
            self.0.shutdown.send_replace(true);
        }
    }

    /// Why the process may not go on, once its work has ended.
    pub(crate) fn refusal(&self) -> Option<&StartError> {
        self.0.refusal.get()
    }

    /// Returns when the service manager has ended the process and its work has taken too long to end.
    pub(crate) async fn out_of_patience(&self) {
        if !self.is_managed() {
            return std::future::pending().await;
        }
        self.shutdown().wait().await;
        tokio::time::sleep(DRAIN).await;
    }

    /// The process is ready to work.
    pub fn ready(&self, status: &str) {
        self.0.notifier.ready(&self.status_line(status));
        info!("ready");
    }

    /// The status line changed.
    pub fn status(&self, status: &str) {
        self.0.notifier.status(&self.status_line(status));
    }

    fn status_line(&self, status: &str) -> String {
        join_status(status, &self.0.confinement)
    }

    /// Serves all frame edges, present and future, until the process should end.
    ///
    /// # Errors
    /// When it was called before.
    pub async fn serve_frames<Req, Rep, F>(
        &self,
        handler: impl Fn(Role, Req) -> F + Send + Sync + 'static,
    ) -> Result<(), ServeError>
    where
        Req: FrameMessage,
        Rep: FrameMessage,
        F: Future<Output = (Rep, Vec<OwnedFd>)> + Send + 'static,
    {
        let handler: FrameHandler<Req, Rep> =
            Arc::new(move |role, request| Box::pin(handler(role, request)));
        let server = self.0.role.clone();
        let gates = Gates::new(CONCURRENT);
        self.accept(move |role, stream| {
            tokio::spawn(serve_frames(
                stream,
                role,
                server.clone(),
                gates.clone(),
                Arc::clone(&handler),
            ));
        })
        .await
    }

    async fn accept(
        &self,
        each: impl Fn(Role, UnixStream) + Clone + Send + 'static,
    ) -> Result<(), ServeError> {
        let taken = self
            .0
            .incoming
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut incoming = taken.ok_or("this process serves its edges already")?;
        let shutdown = self.shutdown();
        let callers = match &self.0.peers {
            Peers::Handed(_) => Callers::this_user(self.0.confinement.contains(" net=own")),
            Peers::Sockets { callers, .. } => callers.clone(),
        };
        loop {
            tokio::select! {
                () = shutdown.wait() => return Ok(()),
                arrival = incoming.recv() => match arrival {
                    Some(Incoming::Stream(role, stream)) => each(role, adopt(stream)?),
                    Some(Incoming::Socket(role, socket)) => {
                        tokio::spawn(accept_from(role, socket, callers.clone(), each.clone()));
                    }
                    None => return Ok(()),
                },
            }
        }
    }
}

fn adopt(stream: StdStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Takes connections from a socket with a name. The socket's mode says who may connect; the peer's
/// user is checked as well.
async fn accept_from(
    role: Role,
    socket: StdListener,
    callers: Callers,
    each: impl Fn(Role, UnixStream),
) {
    let bound = socket
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(socket));
    let socket = match bound {
        Ok(socket) => socket,
        Err(error) => {
            warn!(client = %role, %error, "a socket cannot be served");
            return;
        }
    };
    let mut told: Option<Instant> = None;
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                if user.is_some_and(|user| callers.permit(&role, user)) {
                    each(role.clone(), stream);
                } else if told.is_none_or(|last| last.elapsed() >= NEWS) {
                    told = Some(Instant::now());
                    warn!(client = %role, user, "refused a connection of another user");
                }
            }
            Err(error) => {
                // Out of descriptors, for example: others end first, then there is room again.
                warn!(client = %role, %error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Waits for the service manager's wish that the process should end. Nothing else comes from there; the senders live as long
/// as the process.
async fn follow_manager(termination: Option<OwnedFd>, feeds: Feeds, notifier: Notifier) {
    let asked = async {
        let termination = termination.ok_or(io::ErrorKind::Unsupported)?;
        #[expect(
            deprecated,
            reason = "it is unsound for what may change its descriptor, which an OwnedFd does not; the new one is unsafe"
        )]
        let termination = AsyncFd::new(termination)?;
        // There is no second wish, so what says this one need not be read.
        termination.readable().await.map(drop)
    };
    match asked.await {
        Ok(()) => {
            info!("the service manager ends this process");
            notifier.stopping();
            feeds.shutdown.send_replace(true);
        }
        Err(error) => error!(%error, "the service manager's wish to end will not be heard"),
    }
    std::future::pending().await
}
