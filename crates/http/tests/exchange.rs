//! Requests against real servers on loopback: what is sent, what is refused, and what a failure is called.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is what a test reports

mod peer;

use std::time::Duration;

use bytes::Bytes;
use clawdbot_http::{BaseUrl, Connection, HttpError, Limits, Pool};
use clawdbot_identity::Destination;
use http::{Method, Request};
use peer::{Peer, Then, get};

async fn answer(reply: impl Into<Vec<u8>>) -> Result<(u16, Vec<u8>), HttpError> {
    let peer = Peer::answering([reply.into()]).await;
    let mut response = peer
        .connect()
        .await
        .send(get("/"), &Limits::default())
        .await?;
    let body = response.body_mut().read_all(1 << 20).await?;
    Ok((response.status().as_u16(), body))
}

#[tokio::test]
async fn the_connection_decides_host_and_framing_whatever_the_request_says() {
    let mut peer = Peer::answering([OK]).await;
    let request = Request::post("/v1/messages?beta=1")
        .header("host", "evil.example")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("transfer-encoding", "chunked")
        .header("content-length", "999")
        .header("accept-encoding", "gzip")
        .header("x-api-key", "k")
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    let mut response = peer
        .connect()
        .await
        .send(request, &Limits::default())
        .await
        .unwrap();
    assert_eq!(response.body_mut().read_all(10).await.unwrap(), b"ok");
    let seen = peer.seen().await.to_ascii_lowercase();
    assert!(
        seen.starts_with("post /v1/messages?beta=1 http/1.1\r\n"),
        "{seen}"
    );
    assert!(seen.ends_with("\r\n\r\n{}"), "{seen}");
    for line in [
        format!("host: {}", peer.destination()),
        "content-length: 2".into(),
        "accept-encoding: identity".into(),
        "x-api-key: k".into(),
    ] {
        assert_eq!(
            seen.lines().filter(|seen| *seen == line).count(),
            1,
            "{line}: {seen}"
        );
    }
    for absent in ["evil", "upgrade", "chunked", "999", "gzip"] {
        assert!(!seen.contains(absent), "{absent}: {seen}");
    }
}

#[tokio::test]
async fn the_default_port_is_not_named_in_the_host_header() {
    let (near, mut far) = tokio::io::duplex(1024);
    let destination = Destination::parse("api.example.com:80").unwrap();
    let connection = Connection::plain(near, &destination).await.unwrap();
    let server = tokio::spawn(async move { peer::read_head(&mut far).await });
    assert!(connection.send(get("/"), &Limits::default()).await.is_err());
    assert!(server.await.unwrap().contains("host: api.example.com\r\n"));
}

#[tokio::test]
async fn a_request_with_another_target_or_a_tunnel_is_not_sent() {
    let good = get("/");
    let absolute = get("http://evil.example/");
    let star = Request::builder()
        .method(Method::OPTIONS)
        .uri("*")
        .body(Bytes::new())
        .unwrap();
    let tunnel = Request::builder()
        .method(Method::CONNECT)
        .uri("evil.example:443")
        .body(Bytes::new())
        .unwrap();
    let peer = Peer::answering(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
    for request in [absolute, star, tunnel] {
        let result = peer.connect().await.send(request, &Limits::default()).await;
        assert!(matches!(result, Err(HttpError::Request(_))));
    }
    assert!(
        peer.connect()
            .await
            .send(good, &Limits::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn answers_of_every_framing_are_read_to_their_end() {
    for reply in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nx-t: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\n\r\nhello",
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        assert_eq!(
            answer(reply).await.unwrap(),
            (200, b"hello".to_vec()),
            "{reply}"
        );
    }
    assert_eq!(
        answer("HTTP/1.1 429 Slow\r\ncontent-length: 1\r\n\r\nx")
            .await
            .unwrap(),
        (429, b"x".to_vec())
    );
    assert_eq!(
        answer("HTTP/1.1 204 None\r\n\r\n").await.unwrap(),
        (204, vec![])
    );
}

#[tokio::test]
async fn pieces_that_arrived_together_are_at_hand_and_nothing_waits_for_those_that_did_not() {
    let together =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n";
    let connection = peer::silent_after(together).await;
    let answer = connection.send(get("/"), &Limits::default()).await;
    let mut body = answer.unwrap().into_body();
    let mut heard = body.next().await.unwrap().unwrap().to_vec();
    while let Some(piece) = body.at_hand().await {
        heard.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(heard, b"abc");

    let peer = Peer::answering(["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"]).await;
    let answer = peer
        .connect()
        .await
        .send(get("/"), &Limits::default())
        .await;
    let mut body = answer.unwrap().into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "a");
    assert!(body.at_hand().await.is_none());
    assert!(body.next().await.is_none(), "the end is still told");
}

#[tokio::test]
async fn redirects_are_an_error_and_their_target_is_not_repeated() {
    for status in [300, 301, 302, 303, 307, 308] {
        let reply = format!(
            "HTTP/1.1 {status} X\r\nlocation: http://10.0.0.1/secret\r\ncontent-length: 0\r\n\r\n"
        );
        let error = answer(reply).await.unwrap_err();
        assert!(
            matches!(error, HttpError::Redirected { status: seen } if seen == status),
            "{error:?}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn compressed_and_switching_answers_are_refused() {
    let gzip = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx";
    assert!(matches!(answer(gzip).await, Err(HttpError::Encoded)));
    let switch = "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    assert!(matches!(answer(switch).await, Err(HttpError::Protocol(_))));
    assert!(matches!(
        answer("SSH-2.0-OpenSSH_9\r\n").await,
        Err(HttpError::Protocol(_))
    ));
}

#[tokio::test]
async fn a_head_is_bounded_and_a_large_one_below_the_bound_is_fine() {
    let head = |size: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n",
            "a".repeat(size)
        )
    };
    assert_eq!(answer(head(60 << 10)).await.unwrap().0, 200);
    assert!(matches!(
        answer(head(70 << 10)).await,
        Err(HttpError::HeadTooLarge)
    ));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(200));
    assert!(
        matches!(answer(endless).await, Err(HttpError::Protocol(_))),
        "too many lines"
    );
}

#[tokio::test]
async fn a_body_is_bounded_whether_its_length_is_declared_or_not() {
    let limits = Limits {
        body: 10,
        ..Limits::default()
    };
    for (reply, early) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n01234567890",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n01234567\r\n3\r\n890\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n01234567890", false),
    ] {
        let peer = Peer::answering([reply]).await;
        let result = peer.connect().await.send(get("/"), &limits).await;
        let error = match result {
            Err(error) if early => error,
            Ok(mut response) if !early => response.body_mut().read_all(100).await.unwrap_err(),
            _ => panic!("{reply}"),
        };
        assert!(
            matches!(error, HttpError::BodyTooLarge { limit: 10 }),
            "{error:?}"
        );
    }
    let peer = Peer::answering(["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789"]).await;
    let mut response = peer.connect().await.send(get("/"), &limits).await.unwrap();
    assert_eq!(response.body_mut().read_all(10).await.unwrap().len(), 10);
}

#[tokio::test]
async fn an_end_that_was_not_declared_is_an_error_and_the_last() {
    for reply in [
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let peer = Peer::answering([reply]).await;
        let mut response = peer
            .connect()
            .await
            .send(get("/"), &Limits::default())
            .await
            .unwrap();
        let body = response.body_mut();
        assert_eq!(body.next().await.unwrap().unwrap(), "hello");
        assert!(
            matches!(body.next().await, Some(Err(HttpError::Truncated))),
            "{reply}"
        );
        assert!(body.next().await.is_none());
        assert!(response.into_body().into_connection().await.is_none());
    }
    assert!(matches!(
        answer("HTTP/1.1 200 OK\r\ncontent-").await,
        Err(HttpError::Closed)
    ));
    assert!(matches!(answer("").await, Err(HttpError::Closed)));
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn used(connection: Connection) -> Connection {
    let mut response = connection.send(get("/"), &Limits::default()).await.unwrap();
    assert_eq!(response.body_mut().read_all(10).await.unwrap(), b"ok");
    response
        .into_body()
        .into_connection()
        .await
        .expect("the server keeps it")
}

#[tokio::test]
async fn a_kept_connection_serves_again_and_one_that_dies_before_it_answers_is_stale() {
    let peer = Peer::new([OK, OK], Then::Ignore).await;
    let connection = used(used(peer.connect().await).await).await;
    assert!(matches!(
        connection.send(get("/"), &Limits::default()).await,
        Err(HttpError::Stale)
    ));
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_while_it_was_idle_is_stale() {
    let (near, far) = tokio::io::duplex(4096);
    let (tell, _told) = tokio::sync::mpsc::unbounded_channel();
    let server =
        tokio::spawn(async move { peer::serve(far, &[OK.into()], Then::Wait, &tell).await });
    let connection = used(
        Connection::plain(near, &Destination::parse("a.example:80").unwrap())
            .await
            .unwrap(),
    )
    .await;
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert!(matches!(
        connection.send(get("/"), &Limits::default()).await,
        Err(HttpError::Stale)
    ));
}

#[tokio::test]
async fn a_death_that_a_retry_would_not_explain_is_not_stale() {
    // On a fresh connection the server's silence is the server's failure.
    assert!(matches!(answer("").await, Err(HttpError::Closed)));
    // On a used one, after the first byte of an answer, the request did arrive.
    let peer = Peer::answering([OK, "H"]).await;
    let connection = used(peer.connect().await).await;
    assert!(matches!(
        connection.send(get("/"), &Limits::default()).await,
        Err(HttpError::Closed)
    ));
}

#[tokio::test]
async fn a_connection_is_given_back_only_after_the_whole_body_and_if_the_server_keeps_it() {
    let close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    for (reply, read, kept) in [(OK, true, true), (OK, false, false), (close, true, false)] {
        let peer = Peer::new([reply], Then::Wait).await;
        let mut response = peer
            .connect()
            .await
            .send(get("/"), &Limits::default())
            .await
            .unwrap();
        if read {
            response.body_mut().read_all(10).await.unwrap();
        }
        assert_eq!(
            response.into_body().into_connection().await.is_some(),
            kept,
            "{reply} {read}"
        );
    }
}

#[tokio::test]
async fn dropping_the_body_closes_the_socket() {
    let mut peer = Peer::new(
        ["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"],
        Then::Wait,
    )
    .await;
    let mut response = peer
        .connect()
        .await
        .send(get("/"), &Limits::default())
        .await
        .unwrap();
    assert_eq!(response.body_mut().next().await.unwrap().unwrap(), "hello");
    drop(response);
    peer.closed().await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_an_error_at_each_stage() {
    let limits = Limits {
        head: Duration::from_secs(9),
        idle: Duration::from_secs(5),
        total: Duration::from_secs(20),
        body: 100,
    };
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n";

    let result = peer::silent_after("").await.send(get("/"), &limits).await;
    assert!(matches!(result, Err(HttpError::HeadTimeout { seconds: 9 })));

    let mut response = peer::silent_after(chunk)
        .await
        .send(get("/"), &limits)
        .await
        .unwrap();
    let body = response.body_mut();
    assert_eq!(body.next().await.unwrap().unwrap(), "x");
    assert!(matches!(
        body.next().await,
        Some(Err(HttpError::IdleTimeout { seconds: 5 }))
    ));
    assert!(body.next().await.is_none());

    let slow = peer::dripping(chunk, "1\r\ny\r\n", Duration::from_secs(4)).await;
    let mut response = slow.send(get("/"), &limits).await.unwrap();
    let error = response.body_mut().read_all(100).await.unwrap_err();
    assert!(
        matches!(error, HttpError::TotalTimeout { seconds: 20 }),
        "{error:?}"
    );
}

fn server(peer: &Peer, scheme: &str) -> BaseUrl {
    BaseUrl::parse(&format!("{scheme}://{}", peer.destination())).unwrap()
}

async fn through(pool: &Pool, peer: &Peer) -> Result<Vec<u8>, HttpError> {
    let fresh = || async { Ok::<_, HttpError>(peer.connect().await) };
    let limits = Limits::default();
    let mut answer = pool
        .send(&server(peer, "http"), get("/"), &limits, fresh)
        .await?;
    let body = answer.body_mut().read_all(10).await?;
    if let Some(connection) = answer.into_body().into_connection().await {
        pool.give(connection);
    }
    Ok(body)
}

#[tokio::test]
async fn a_pool_uses_a_waiting_connection_and_replaces_one_that_died_without_an_error() {
    // Each connection answers once; the second request on it is read and left without an answer.
    let mut peer = Peer::new([OK], Then::Ignore).await;
    let pool = Pool::new();
    assert_eq!(through(&pool, &peer).await.unwrap(), b"ok");
    assert_eq!(pool.len(), 1);
    assert_eq!(through(&pool, &peer).await.unwrap(), b"ok");
    peer.closed().await;
    peer.seen().await;
    peer.seen().await;
}

#[tokio::test]
async fn a_waiting_connection_of_another_server_is_closed_and_not_used() {
    let mut before = Peer::new([OK], Then::Wait).await;
    let mut after = Peer::new([OK], Then::Wait).await;
    let pool = Pool::new();
    through(&pool, &before).await.unwrap();
    // In use while the address changes, and given back after that.
    pool.clear();
    pool.give(used(before.connect().await).await);
    assert_eq!(through(&pool, &after).await.unwrap(), b"ok");
    before.closed().await;
    before.closed().await;
    assert!(after.seen().await.starts_with("GET / "));
    assert_eq!(pool.len(), 1, "only the new server's own waits");

    // The same host without encryption is not the same server.
    let fresh = || async { Err::<Connection, _>(HttpError::Closed) };
    let secure = server(&after, "https");
    let limits = Limits::default();
    let answer = pool.send(&secure, get("/"), &limits, fresh).await;
    assert!(matches!(answer, Err(HttpError::Closed)));
    assert!(pool.is_empty());
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_an_error_even_from_a_pool() {
    let peer = Peer::new(Vec::<Vec<u8>>::new(), Then::Ignore).await;
    let error = through(&Pool::new(), &peer).await.unwrap_err();
    assert!(matches!(error, HttpError::Closed), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_wait_for_a_limited_time_and_in_a_limited_number() {
    let pool = Pool::new();
    let destination = Destination::parse("a.example:80").unwrap();
    let mut far_ends = Vec::new();
    for _ in 0..Pool::MOST + 4 {
        let (near, far) = tokio::io::duplex(64);
        far_ends.push(far);
        pool.give(Connection::plain(near, &destination).await.unwrap());
    }
    assert_eq!(pool.len(), Pool::MOST);
    tokio::time::sleep(Duration::from_secs(29)).await; // of the paused clock
    assert_eq!(pool.len(), Pool::MOST);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(pool.is_empty());
    let (near, far) = tokio::io::duplex(64);
    far_ends.push(far);
    pool.give(Connection::plain(near, &destination).await.unwrap());
    assert_eq!(pool.len(), 1);
    pool.clear();
    assert!(pool.is_empty());
}
