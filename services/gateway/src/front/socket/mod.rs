//! A WebSocket connection of the gateway protocol, version 3: challenge, `connect`, then requests and events until
//! either side closes. Whatever goes wrong, the peer gets a close frame that says what.

mod connect;
mod follow;
mod methods;
pub mod wire;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_proto::v1;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::{Code, Status};

use super::Front;
use super::connection::{Connection, Upgrade};
use super::metered::{Metered, TOO_MUCH};
use crate::desk::{Decided, Visitor};
use crate::{clock, limits};
use connect::Scopes;
use follow::Followed;
use wire::WireError;

/// Between two checks of the key because of turns that others began; what the client itself asks is checked each time.
const NEWS_CHECK: Duration = Duration::from_secs(1);

/// Why a connection ends: the code and the words of its close frame. Words have at most 123 bytes (RFC 6455, 5.5).
struct Close(CloseCode, &'static str);

/// The peer closed, or is gone.
struct Gone;

/// How a connection ends.
enum End {
    /// We close it.
    Close(Close),
    /// There is nobody to close it to.
    Gone,
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Talks with one client to the end; returns the socket for the hang-up.
pub async fn converse(
    front: &Front,
    connection: &Connection,
    stream: Metered,
    already_read: &[u8],
    upgrade: Upgrade,
) -> Metered {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(limits::FRAME_BYTES))
        .max_frame_size(Some(limits::FRAME_BYTES));
    let already_read = already_read.to_vec();
    let socket =
        WebSocketStream::from_partially_read(stream, already_read, Role::Server, Some(config));
    let mut line = Line {
        socket: socket.await,
        seq: 0,
    };
    let end = match greet(front, connection, &mut line, upgrade).await {
        Ok(visit) => work(front, &mut line, &visit).await,
        Err(end) => end,
    };
    if let End::Close(close) = end {
        line.close(close).await;
    }
    line.socket.into_inner()
}

/// A connection that has authenticated.
struct Visit {
    who: Visitor,
    key: String,
    scopes: Scopes,
    /// What the greeting says.
    problems: Arc<Vec<v1::Problem>>,
}

/// The frames in and out.
struct Line {
    socket: WebSocketStream<Metered>,
    seq: u64,
}

impl Line {
    /// The next text frame, or `None` for a sign of life. Dropping the future loses nothing.
    async fn receive(&mut self) -> Result<Option<String>, End> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => Ok(Some(text.as_str().to_owned())),
            Some(Ok(Message::Binary(_))) => {
                Err(Close(CloseCode::Unsupported, "text frames only").into())
            }
            // Pings and closes are answered beneath; the stream ends after a close.
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(blame(&error)),
            None => Err(End::Gone),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(limits::WRITE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(Close(CloseCode::Policy, "slow consumer").into()),
        }
    }

    async fn reply(&mut self, id: &str, result: Result<Value, WireError>) -> Result<(), End> {
        self.send(Message::text(wire::response(id, result))).await
    }

    async fn event(&mut self, name: &str, payload: Value) -> Result<(), End> {
        self.seq += 1;
        let text = wire::event(name, payload, Some(self.seq));
        self.send(Message::text(text)).await
    }

    async fn close(&mut self, Close(code, reason): Close) {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        // A peer that does not read does not get to know.
        let _ = timeout(limits::LINGER.0, self.socket.close(Some(frame))).await;
    }
}

/// What a fault of the peer's frames is called in a close frame.
fn blame(error: &Error) -> End {
    let close = match error {
        Error::Capacity(_) => Close(CloseCode::Size, "the limit of a message is 512 KiB"),
        Error::Utf8(_) => Close(CloseCode::Invalid, "text must be UTF-8"),
        Error::Protocol(_) | Error::AttackAttempt => Close(CloseCode::Protocol, "protocol error"),
        Error::Io(error) if error.kind() == TOO_MUCH => {
            Close(CloseCode::Size, "too much before authentication")
        }
        _ => return End::Gone,
    };
    close.into()
}

/// Challenge and `connect`. Everything but a right credential in time ends the connection.
async fn greet(
    front: &Front,
    connection: &Connection,
    line: &mut Line,
    upgrade: Upgrade,
) -> Result<Visit, End> {
    let deadline = connection.stranger_until();
    let greeting = async {
        let nonce = clock::random_id().map_err(|_| Close(CloseCode::Error, "no randomness"))?;
        let challenge = json!({ "nonce": nonce, "ts": clock::now_ms() });
        let text = wire::event("connect.challenge", challenge, None);
        line.send(Message::text(text)).await?;
        let first = loop {
            if let Some(text) = line.receive().await? {
                break text;
            }
        };
        let request = match connect::parse(&first) {
            Ok(request) => request,
            Err(refused) => return Err(turn_down(line, *refused).await),
        };
        let visit = match connect::authenticate(front, connection, &request, upgrade.key).await {
            Ok(visit) => visit,
            Err(error) => {
                let refused = connect::Refused {
                    id: Some(request.id),
                    error,
                    code: CloseCode::Policy,
                };
                return Err(turn_down(line, refused).await);
            }
        };
        connection.authenticated();
        line.reply(&request.id, Ok(connect::hello(front, &visit)))
            .await?;
        Ok(visit)
    };
    tokio::select! {
        biased;
        () = front.over() => Err(stopping()),
        greeted = timeout_at(deadline, greeting) => match greeted {
            Ok(greeted) => greeted,
            Err(_) => Err(Close(CloseCode::Policy, "authentication took too long").into()),
        },
    }
}

/// Says what is wrong with a `connect`, then closes.
async fn turn_down(line: &mut Line, refused: connect::Refused) -> End {
    let reason = match refused.code {
        CloseCode::Protocol => "protocol mismatch",
        _ if refused.id.is_none() => "invalid request frame",
        _ => "connect refused",
    };
    if let Some(id) = &refused.id
        && let Err(end) = line.reply(id, Err(refused.error)).await
    {
        return end;
    }
    Close(refused.code, reason).into()
}

fn stopping() -> End {
    Close(CloseCode::Restart, "the gateway stops").into()
}

/// Requests, events and ticks, until an end.
async fn work(front: &Front, line: &mut Line, visit: &Visit) -> End {
    match talk(front, line, visit).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

async fn talk(
    front: &Front,
    line: &mut Line,
    visit: &Visit,
) -> Result<std::convert::Infallible, End> {
    let mut news = front.desk().turns().news();
    let mut problems = front.desk().problems();
    let mut told = Arc::clone(&visit.problems);
    let mut followed = Followed::default();
    if visit.scopes.read {
        for log in front.desk().turns().open() {
            if follow::is_operators(&log) && followed.has_room(&log) {
                followed.add(front, log);
            }
        }
    }
    let mut ticks = interval_at(Instant::now() + limits::TICK, limits::TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    let mut missed = 0;
    let mut checked: Option<Instant> = None;
    let mut waiting = None;
    loop {
        tokio::select! {
            () = front.over() => {
                line.event("shutdown", json!({ "reason": "the gateway stops" })).await?;
                return Err(stopping());
            }
            // A client's requests are done in their order.
            text = line.receive(), if waiting.is_none() => {
                silent = 0;
                let Some(text) = text? else { continue };
                let (id, result) = match wire::request(&text) {
                    Ok(request) => {
                        still_welcome(front, visit, &mut missed).await?;
                        let (method, params) = (&request.method, request.params);
                        match methods::call(front, visit, &mut followed, method, params).await {
                            Ok(methods::Called::Done(value)) => (request.id, Ok(value)),
                            Ok(methods::Called::Waits(answer)) => {
                                waiting = Some((request.id, answer));
                                continue;
                            }
                            Err(error) => (request.id, Err(error)),
                        }
                    }
                    Err((id, error)) => (id, Err(error)),
                };
                line.reply(&id, result).await?;
            }
            (id, result) = answered(&mut waiting) => {
                line.reply(&id, result).await?;
            }
            (name, payload) = followed.next() => {
                line.event(name, payload).await?;
            }
            log = news.recv(), if visit.scopes.read => match log {
                Ok(log) if follow::is_operators(&log) && followed.has_room(&log) => {
                    if checked.is_none_or(|at| at.elapsed() >= NEWS_CHECK) {
                        still_welcome(front, visit, &mut missed).await?;
                        checked = Some(Instant::now());
                    }
                    followed.add(front, log);
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Err(stopping()),
            },
            Ok(()) = problems.changed(), if visit.scopes.read => {
                let now = Arc::clone(&problems.borrow_and_update());
                if now != told {
                    line.event("health", methods::health(front, &now)).await?;
                    told = now;
                }
            }
            _ = ticks.tick() => {
                silent += 1;
                if silent > 2 {
                    return Err(Close(CloseCode::Policy, "no sign of life").into());
                }
                still_welcome(front, visit, &mut missed).await?;
                line.event("tick", json!({ "ts": clock::now_ms() })).await?;
                line.send(Message::Ping(Default::default())).await?;
            }
        }
    }
}

/// The answer to the request that waits for others; nothing else of the connection has to wait for it.
async fn answered(
    waiting: &mut Option<(String, methods::Answer<'_>)>,
) -> (String, Result<Value, WireError>) {
    let Some((_, answer)) = waiting else {
        return pending().await;
    };
    let result = answer.await;
    let id = waiting.take().map(|(id, _)| id);
    (id.unwrap_or_default(), result)
}

/// A rotated token ends what it opened.
async fn still_welcome(front: &Front, visit: &Visit, missed: &mut u32) -> Result<(), End> {
    let checked = timeout(limits::RECHECK, front.0.access.recheck(&visit.key)).await;
    let late = |_| Err(Status::deadline_exceeded("policy takes too long"));
    Ok(welcome(checked.unwrap_or_else(late), missed)?)
}

/// What a check means for the connection. While policy is away nothing new can be done; for a few checks in a row nothing
/// is ended either. Every other fault ends it: whoever can keep policy from answering must not keep a session open.
fn welcome<T>(checked: Result<Decided<T>, Status>, missed: &mut u32) -> Result<(), Close> {
    match checked {
        Ok(Ok(_)) => {
            *missed = 0;
            Ok(())
        }
        Ok(Err(_)) => Err(Close(CloseCode::Policy, "the session has ended")),
        Err(status) if status.code() == Code::Unavailable && *missed < limits::RECHECKS_MISSED => {
            *missed += 1;
            Ok(())
        }
        Err(_) => Err(Close(CloseCode::Again, "the session cannot be checked")),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_request_that_waits_is_answered_though_other_things_happen_meanwhile() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let answer: methods::Answer<'_> = Box::pin(async { Ok(receiver.await.unwrap()) });
        let mut waiting = Some(("r1".to_owned(), answer));
        assert!(answered(&mut waiting).now_or_never().is_none());
        sender.send(json!(1)).unwrap();
        let (id, result) = answered(&mut waiting).await;
        assert_eq!((id.as_str(), result.ok()), ("r1", Some(json!(1))));
        assert!(waiting.is_none(), "the next request may come");
        assert!(answered(&mut waiting).now_or_never().is_none());
    }

    /// The codes with which a connection ends at each of some checks in a row; 0 when it stays.
    fn codes(checks: Vec<Result<Decided<()>, Status>>) -> Vec<u16> {
        let mut missed = 0;
        let code = |checked| {
            welcome(checked, &mut missed)
                .err()
                .map_or(0, |end| end.0.into())
        };
        checks.into_iter().map(code).collect()
    }

    fn away() -> Result<Decided<()>, Status> {
        Err(Status::unavailable("restarting"))
    }

    #[test]
    fn policy_may_be_away_for_two_checks_in_a_row_only() {
        assert_eq!(codes(vec![away(), away(), away()]), [0, 0, 1013]);
        let between = vec![away(), away(), Ok(Ok(())), away(), away(), away()];
        assert_eq!(codes(between), [0, 0, 0, 0, 0, 1013]);
    }

    #[test]
    fn every_other_fault_and_a_refusal_end_at_once() {
        for status in [
            Status::deadline_exceeded(""),
            Status::resource_exhausted(""),
            Status::internal(""),
        ] {
            assert_eq!(codes(vec![Err(status)]), [1013]);
        }
        assert_eq!(codes(vec![Ok(Err(v1::Refusal::default()))]), [1008]);
    }
}
