//! Sends one message and follows it to its end, over as many connections as that takes. The message keeps its id, so
//! that a gateway that already has it goes on where it was and never asks twice.

use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::time::Duration;

use clawdbot_proto::v1::chat_client::ChatClient;
use clawdbot_proto::v1::{ChatEvent, SendRequest, StopRequest};
use tokio::select;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Status, Streaming};

use super::turn::{End, Show, Turn};
use crate::dial::{Line, Server, Sockets};
use crate::failure::{EXIT_NOT_RUNNING, Failure};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where connections to the gateway come from.
pub trait Connect {
    /// A fresh connection.
    fn open(&self) -> impl Future<Output = Result<Line, Failure>>;
}

impl Connect for Sockets {
    async fn open(&self) -> Result<Line, Failure> {
        Self::open(self, Server::Gateway).await
    }
}

/// The person's Ctrl-C, one message each.
pub struct Interrupts(UnboundedReceiver<()>);

impl Interrupts {
    /// Takes them from a channel.
    pub fn new(receiver: UnboundedReceiver<()>) -> Self {
        Self(receiver)
    }

    /// The next one; never, when none can come any more.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            pending().await
        }
    }

    /// Forgets those that came before now.
    pub fn forget(&mut self) {
        while self.0.try_recv().is_ok() {}
    }
}

/// One message under way, and what it needs.
pub struct Exchange<'a, C, S> {
    connect: &'a C,
    interrupts: &'a mut Interrupts,
    show: S,
    patience: Option<Duration>,
    request: SendRequest,
    turn: Turn,
    stopping: bool,
    /// When to stop waiting for a word from the gateway; not set while it talks to us, or for endless patience.
    until: Option<Instant>,
}

/// Why waiting ended before the work did.
enum Broken {
    /// The connection is gone.
    Lost,
    /// The person does not want to wait any longer.
    GaveUp,
    /// Nothing was heard for as long as the patience lasts.
    Silent,
    /// There is no point in another try.
    Failed(Failure),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable => Self::Lost,
            _ => Self::Failed(Failure::call("the gateway", &status)),
        }
    }
}

impl<'a, C: Connect, S: FnMut(Show) -> io::Result<()>> Exchange<'a, C, S> {
    /// A message that was not sent yet. `patience` bounds how long nothing may be heard: until the message is
    /// accepted, and after each loss of the connection.
    pub fn new(
        connect: &'a C,
        interrupts: &'a mut Interrupts,
        show: S,
        patience: Option<Duration>,
        request: SendRequest,
    ) -> Self {
        Self {
            connect,
            interrupts,
            show,
            patience,
            request,
            turn: Turn::default(),
            stopping: false,
            until: None,
        }
    }

    /// The end of the message, or `None` when the person gave up waiting for it.
    ///
    /// # Errors
    /// When no gateway is there, it refuses the message, or nothing is heard from it for too long.
    pub async fn run(mut self) -> Result<Option<End>, Failure> {
        let mut line = self.connect.open().await?;
        let mut pause = FIRST_PAUSE;
        self.be_patient();
        loop {
            match self.follow(&line, &mut pause).await {
                Ok(end) => return Ok(Some(end)),
                Err(Broken::Lost) => {}
                Err(other) => return self.over(other),
            }
            self.be_patient();
            (self.show)(Show::Waiting)?;
            line = match self.reopen(&mut pause).await {
                Ok(again) => again,
                Err(broken) => return self.over(broken),
            };
        }
    }

    fn over(&self, broken: Broken) -> Result<Option<End>, Failure> {
        match broken {
            Broken::GaveUp => Ok(None),
            Broken::Failed(failure) => Err(failure),
            Broken::Lost | Broken::Silent => Err(gone(self.turn.accepted())),
        }
    }

    /// Begins to count the silence, unless it is counted already.
    fn be_patient(&mut self) {
        if let (None, Some(patience)) = (self.until, self.patience) {
            self.until = Some(Instant::now() + patience);
        }
    }

    /// Follows one stream to its end.
    async fn follow(&mut self, line: &Line, pause: &mut Duration) -> Result<End, Broken> {
        self.turn.attach();
        let mut client = ChatClient::new(line.edge.clone());
        let sending = client.send(self.request.clone());
        let mut stream: Streaming<ChatEvent> = self.attend(sending, line).await??.into_inner();
        while let Some(event) = self.attend(stream.message(), line).await?? {
            self.until = None;
            *pause = FIRST_PAUSE;
            let (shows, end) = self.turn.event(event);
            for show in shows {
                (self.show)(show)?;
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
        Err(Broken::Lost)
    }

    /// Waits for `work`. The first Ctrl-C asks the gateway to stop the turn, whose end then comes the usual way; the
    /// second gives up.
    async fn attend<T>(&mut self, work: impl Future<Output = T>, line: &Line) -> Result<T, Broken> {
        let mut work = pin!(work);
        loop {
            select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.interrupts.next() => {}
                () = silence(self.until) => return Err(Broken::Silent),
            }
            if std::mem::replace(&mut self.stopping, true) {
                return Err(Broken::GaveUp);
            }
            (self.show)(Show::Stopping)?;
            let mut client = ChatClient::new(line.edge.clone());
            let stop = StopRequest {
                session: self.request.session.clone(),
            };
            // If it does not arrive, nothing ends, and the person presses Ctrl-C again.
            tokio::spawn(async move { client.stop(stop).await });
        }
    }

    /// Connects again after a pause that grows with each try.
    async fn reopen(&mut self, pause: &mut Duration) -> Result<Line, Broken> {
        loop {
            select! {
                () = sleep(*pause) => {}
                () = self.interrupts.next() => return Err(Broken::GaveUp),
                () = silence(self.until) => return Err(Broken::Silent),
            }
            *pause = (*pause * 2).min(LONGEST_PAUSE);
            if let Ok(line) = self.connect.open().await {
                return Ok(line);
            }
        }
    }
}

async fn silence(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

fn gone(accepted: bool) -> Failure {
    let remedy = match accepted {
        true => "the message is kept and will be answered after the next `clawdbot up`",
        false => "start it with `clawdbot up` and send the message again",
    };
    Failure::new(
        "gateway.gone",
        "the gateway went away and did not come back",
    )
    .exit(EXIT_NOT_RUNNING)
    .remedy(remedy)
}

#[cfg(test)]
mod tests;
