//! The gateway protocol: with a real WebSocket client where it is used as meant, with bytes where it is not.

use std::sync::atomic::Ordering;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Client;
use crate::limits;
use crate::testing::{CODE, PASSWORD, TOKEN, World};

pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub async fn open(world: &World) -> Self {
        Self::with(world, &[]).await
    }

    async fn with(world: &World, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("ws://{}/", world.address)
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(world.address).await.unwrap();
        let (socket, _) = client_async(request, stream).await.unwrap();
        let mut socket = Self(socket);
        assert_eq!(
            socket.event("connect.challenge").await["nonce"]
                .as_str()
                .unwrap()
                .len(),
            32
        );
        socket
    }

    pub async fn connected(world: &World) -> Self {
        let mut socket = Self::open(world).await;
        let hello = socket
            .ask("connect", connect(json!({ "token": TOKEN })))
            .await;
        assert_eq!(hello["payload"]["type"], "hello-ok", "{hello}");
        socket
    }

    pub async fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next frame; a close frame is `{"close": code, "reason": …}`.
    pub async fn next(&mut self) -> Value {
        loop {
            match self.0.next().await.expect("a close frame").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(Some(frame)) => {
                    return json!({ "close": u16::from(frame.code), "reason": frame.reason.as_str() });
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let frame = self.next().await;
            assert!(frame.get("close").is_none(), "{frame}");
            if frame["event"] == name {
                return frame["payload"].clone();
            }
        }
    }

    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        let frame = json!({ "type": "req", "id": "r", "method": method, "params": params });
        self.text(&frame.to_string()).await;
        loop {
            let frame = self.next().await;
            if frame["type"] == "res" || frame.get("close").is_some() {
                return frame;
            }
        }
    }

    pub async fn send_chat(&mut self, id: &str, message: &str) -> Value {
        let params = json!({ "sessionKey": "main", "message": message, "idempotencyKey": id });
        self.ask("chat.send", params).await
    }

    pub async fn closes(&mut self) -> (u64, String) {
        loop {
            let frame = self.next().await;
            if let Some(code) = frame["close"].as_u64() {
                return (code, frame["reason"].as_str().unwrap().to_owned());
            }
        }
    }
}

pub fn connect(auth: Value) -> Value {
    json!({
        "minProtocol": 3, "maxProtocol": 3,
        "client": { "id": "test", "version": "1", "platform": "linux", "mode": "test" },
        "auth": auth,
    })
}

/// A masked client frame with an all-zero mask.
fn frame(first: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Opens a WebSocket by hand and reads the challenge.
async fn raw(world: &World) -> Client {
    let mut client = Client::new(world).await;
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = client.ask("GET /ws", upgrade, "").await;
    assert_eq!(answer.status, 101);
    // RFC 6455, 1.3.
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    let (opcode, payload) = read_frame(&mut client).await;
    assert_eq!(opcode, 0x81);
    assert!(
        String::from_utf8(payload)
            .unwrap()
            .contains("connect.challenge")
    );
    client
}

async fn read_frame(client: &mut Client) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.stream.read_exact(&mut head).await.unwrap();
    let length = match head[1] {
        126 => usize::from(client.stream.read_u16().await.unwrap()),
        127 => usize::try_from(client.stream.read_u64().await.unwrap()).unwrap(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    client.stream.read_exact(&mut payload).await.unwrap();
    (head[0], payload)
}

/// The code of the close frame that comes, whatever comes before it, and that the connection ends with it.
async fn close_code(client: &mut Client) -> u16 {
    loop {
        let (opcode, payload) = read_frame(client).await;
        if opcode == 0x88 {
            assert!(client.is_closed().await);
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    }
}

pub async fn world() -> (tempfile::TempDir, World) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    (dir, world)
}

#[tokio::test]
async fn broken_frames_end_with_the_code_that_says_so() {
    let (_dir, world) = world().await;
    let two_mib = vec![b'a'; 2 * 1024 * 1024];
    let deep = "[".repeat(50_000);
    for (what, bytes, code) in [
        ("reserved opcode", frame(0x83, 1, b"a"), 1002),
        ("reserved bit", frame(0xc1, 1, b"a"), 1002),
        ("unmasked", vec![0x81, 1, b'a'], 1002),
        ("long control frame", frame(0x89, 126, &[0; 126]), 1002),
        ("continuation of nothing", frame(0x80, 1, b"a"), 1002),
        ("not UTF-8", frame(0x81, 2, b"\xff\xfe"), 1007),
        ("binary", frame(0x82, 1, b"a"), 1003),
        ("declared 1 GiB", frame(0x81, 1 << 30, b""), 1009),
        ("declared 2^62", frame(0x81, 1 << 62, b""), 1009),
        ("real 2 MiB", frame(0x81, 2 << 20, &two_mib), 1009),
        (
            "much from a stranger",
            frame(0x81, 500_000, &two_mib[..500_000]),
            1009,
        ),
        ("not JSON", frame(0x81, 5, b"hello"), 1008),
        ("deep JSON", frame(0x81, 50_000, deep.as_bytes()), 1008),
        ("empty", frame(0x81, 0, b""), 1008),
    ] {
        let mut client = raw(&world).await;
        client.write(&bytes).await;
        assert_eq!(close_code(&mut client).await, code, "{what}");
    }
    Socket::connected(&world).await;
}

#[tokio::test]
async fn a_frame_may_come_in_pieces_and_with_the_upgrade() {
    let (_dir, world) = world().await;
    let text = json!({ "type": "req", "id": "1", "method": "connect", "params": connect(json!({ "token": TOKEN })) });
    let text = text.to_string();
    let (a, b) = text.as_bytes().split_at(20);
    let mut bytes = format!(
        "GET / HTTP/1.1\r\nhost: {}\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        world.address
    )
    .into_bytes();
    bytes.extend(frame(0x01, a.len() as u64, a));
    bytes.extend(frame(0x89, 2, b"hi"));
    bytes.extend(frame(0x80, b.len() as u64, b));
    let mut client = Client::new(&world).await;
    client.write(&bytes).await;
    assert_eq!(client.answer().await.status, 101);
    let mut opcodes = Vec::new();
    loop {
        let (opcode, payload) = read_frame(&mut client).await;
        opcodes.push(opcode);
        if String::from_utf8_lossy(&payload).contains("hello-ok") {
            break;
        }
    }
    assert!(opcodes.contains(&0x8a), "a ping is answered: {opcodes:?}");
}

#[tokio::test]
async fn a_malformed_upgrade_is_answered_in_http() {
    let (_dir, world) = world().await;
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    for (headers, status) in [
        (format!("{upgrade}{key}sec-websocket-version: 8\r\n"), 426),
        (format!("{upgrade}{key}"), 426),
        (format!("{upgrade}sec-websocket-version: 13\r\n"), 400),
        (
            format!("{upgrade}sec-websocket-version: 13\r\nsec-websocket-key: short\r\n"),
            400,
        ),
        (
            format!("upgrade: websocket\r\nsec-websocket-version: 13\r\n{key}"),
            400,
        ),
        (
            format!("{upgrade}{key}sec-websocket-version: 13\r\nauthorization: Bearer wrong\r\n"),
            401,
        ),
    ] {
        let answer = super::ask(&world, "GET /ws", &headers, "").await;
        assert_eq!(answer.status, status, "{headers}");
    }
}

#[tokio::test]
async fn who_does_not_authenticate_in_time_is_closed_with_a_code() {
    let (_dir, world) = world().await;
    for sent in [vec![], frame(0x89, 1, b"p"), vec![0x81, 0xfe]] {
        let mut client = raw(&world).await;
        client.write(&sent).await;
        tokio::time::pause();
        assert_eq!(close_code(&mut client).await, 1008);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_token_or_password_makes_the_operator_and_nothing_else_does() {
    let (_dir, world) = world().await;
    for (auth, code, word) in [
        (
            json!({ "token": "wrong" }),
            "INVALID_REQUEST",
            "unauthorized",
        ),
        (
            json!({ "password": "wrong" }),
            "INVALID_REQUEST",
            "unauthorized",
        ),
        (json!({}), "NOT_PAIRED", "device identity"),
        (Value::Null, "NOT_PAIRED", "device identity"),
    ] {
        let mut socket = Socket::open(&world).await;
        let answer = socket.ask("connect", connect(auth)).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(
            answer["error"]["message"].as_str().unwrap().contains(word),
            "{answer}"
        );
        assert_eq!(socket.closes().await.0, 1008);
    }
    let mut device = connect(Value::Null);
    device["device"] = json!({ "id": "i", "publicKey": "k", "signature": "s", "signedAt": 1 });
    let mut socket = Socket::open(&world).await;
    let answer = socket.ask("connect", device).await;
    assert_eq!(answer["error"]["code"], "NOT_PAIRED");
    for auth in [json!({ "token": TOKEN }), json!({ "password": PASSWORD })] {
        let mut socket = Socket::open(&world).await;
        let answer = socket.ask("connect", connect(auth)).await;
        let payload = &answer["payload"];
        assert_eq!(
            (&payload["type"], &payload["protocol"]),
            (&json!("hello-ok"), &json!(3))
        );
        assert_eq!(payload["policy"]["maxPayload"], limits::FRAME_BYTES);
        assert_eq!(payload["policy"]["tickIntervalMs"], 30_000);
    }
}

#[tokio::test]
async fn version_role_and_first_method_are_refused_with_their_codes() {
    let (_dir, world) = world().await;
    let auth = json!({ "token": TOKEN });
    let mut old = connect(auth.clone());
    old["maxProtocol"] = 2.into();
    old["minProtocol"] = 1.into();
    let mut node = connect(auth.clone());
    node["role"] = "node".into();
    let mut more = connect(auth);
    more["more"] = 1.into();
    for (method, params, code) in [
        ("connect", old, 1002),
        ("connect", node, 1008),
        ("connect", more, 1008),
        ("health", json!({}), 1008),
    ] {
        let mut socket = Socket::open(&world).await;
        let answer = socket.ask(method, params).await;
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{answer}");
        assert_eq!(socket.closes().await.0, code, "{answer}");
    }
}

#[tokio::test]
async fn a_signed_in_browser_needs_no_token_in_the_frame() {
    let (_dir, world) = world().await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let answer = super::ask(&world, "POST /login", form, &format!("code={CODE}")).await;
    let cookie = answer
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let origin = format!("http://{}", world.address);
    let mut socket = Socket::with(&world, &[("cookie", &cookie), ("origin", &origin)]).await;
    let answer = socket.ask("connect", connect(Value::Null)).await;
    assert_eq!(answer["payload"]["type"], "hello-ok", "{answer}");
    world.policy.keys.lock().unwrap().clear();
    let mut socket = Socket::with(&world, &[("cookie", &cookie)]).await;
    let answer = socket.ask("connect", connect(Value::Null)).await;
    assert_eq!(answer["error"]["code"], "NOT_PAIRED", "{answer}");
}

#[tokio::test]
async fn requests_are_closed_objects_and_a_bad_one_leaves_the_connection_open() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    let deep = format!(
        r#"{{"type":"req","id":"d","method":"health","params":{}"#,
        "[".repeat(100)
    );
    for (text, id) in [
        ("nonsense", "invalid"),
        ("", "invalid"),
        (r#"{"type":"req","id":"x","method":"health","more":1}"#, "x"),
        (deep.as_str(), "invalid"),
    ] {
        socket.text(text).await;
        let answer = socket.next().await;
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(id), &json!("INVALID_REQUEST"))
        );
    }
    for (method, params, word) in [
        ("nothing", json!({}), "unknown method"),
        ("config.get", json!({}), "unknown method"),
        ("health", json!({ "more": 1 }), "more"),
        (
            "chat.send",
            json!({ "sessionKey": "main", "message": "x" }),
            "idempotencyKey",
        ),
        (
            "chat.send",
            json!({ "sessionKey": "a b", "message": "x", "idempotencyKey": "i" }),
            "session name",
        ),
        (
            "chat.send",
            json!({ "sessionKey": "agent:main:telegram:dm:1", "message": "x", "idempotencyKey": "i" }),
            "session name",
        ),
        (
            "chat.send",
            json!({ "sessionKey": "agent:work:main", "message": "x", "idempotencyKey": "i" }),
            "agent.unknown",
        ),
        (
            "chat.send",
            json!({ "sessionKey": "main", "message": "", "idempotencyKey": "i" }),
            "empty",
        ),
        (
            "chat.send",
            json!({ "sessionKey": "main", "message": "x", "idempotencyKey": "i", "attachments": [1] }),
            "attachments",
        ),
        (
            "chat.history",
            json!({ "sessionKey": "main", "limit": 1001 }),
            "1000",
        ),
        ("chat.abort", json!({}), "sessionKey"),
        ("sessions.list", json!({ "limit": -1 }), "invalid"),
    ] {
        let answer = socket.ask(method, params).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{method}: {message}");
    }
    assert!(world.agent.worked.lock().unwrap().is_empty());
    assert_eq!(socket.ask("health", json!({})).await["payload"]["ok"], true);
}

#[tokio::test]
async fn a_key_that_ends_ends_its_connections() {
    let (_dir, world) = world().await;
    let mut asks = Socket::connected(&world).await;
    let mut sleeps = Socket::connected(&world).await;
    assert_eq!(asks.ask("health", json!({})).await["ok"], true);
    world.policy.keys.lock().unwrap().clear();
    let answer = asks.ask("health", json!({})).await;
    assert_eq!(answer["close"], 1008, "{answer}");
    tokio::time::pause();
    assert_eq!(sleeps.closes().await.0, 1008);
}

#[tokio::test]
async fn a_key_that_cannot_be_checked_opens_nothing_any_more() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    assert_eq!(socket.ask("health", json!({})).await["ok"], true);
    world.policy.faulty.store(true, Ordering::Relaxed);
    let answer = socket.ask("health", json!({})).await;
    assert_eq!(answer["close"], 1013, "{answer}");
}

#[tokio::test]
async fn ticks_come_and_a_peer_without_a_sign_of_life_is_closed() {
    let (_dir, world) = world().await;
    let mut client = raw(&world).await;
    let text = json!({ "type": "req", "id": "1", "method": "connect", "params": connect(json!({ "token": TOKEN })) });
    let text = text.to_string();
    client
        .write(frame(0x81, text.len() as u64, text.as_bytes()))
        .await;
    let (_, hello) = read_frame(&mut client).await;
    assert!(String::from_utf8(hello).unwrap().contains("hello-ok"));
    tokio::time::pause();
    let mut ticks = 0;
    loop {
        match read_frame(&mut client).await {
            (0x81, payload) => {
                assert!(String::from_utf8(payload).unwrap().contains("\"tick\""));
                ticks += 1;
            }
            (0x88, payload) => {
                assert_eq!(payload[..2], 1008_u16.to_be_bytes());
                break;
            }
            _ => {}
        }
    }
    assert_eq!(ticks, 2);
}

#[tokio::test]
async fn a_stop_of_the_gateway_is_announced() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    let mut early = Socket::open(&world).await;
    world.over.send_replace(true);
    socket.event("shutdown").await;
    assert_eq!(socket.closes().await.0, 1012);
    assert_eq!(early.closes().await.0, 1012);
}
