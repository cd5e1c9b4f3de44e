//! Bad input: each gives a clear error or is bounded; nothing crashes, nothing accepted is lost.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use clawdbot_proto::v1::chat_event::Event;
use clawdbot_tests::{Output, Scratch, Start, free_port, runs_as_root, skip};

/// `clawdbot up` with this configuration file.
fn up_with(text: &[u8]) -> Output {
    let scratch = Scratch::new();
    scratch.configure("");
    std::fs::write(scratch.state().join("clawdbot.json"), text).unwrap();
    scratch.clawdbot(&["up"])
}

#[test]
fn a_bad_configuration_stops_the_start_with_place_rule_and_remedy() {
    let nested = "[".repeat(5000);
    let nested = format!("{{ agents: {{ list: {nested} }} }}");
    let cases: [(&[u8], &[&str]); 9] = [
        (b"{ gateway: { port: 1", &["clawdbot.json:1:"]),
        (
            b"{\n  gateway: { prot: 18789 } }",
            &["clawdbot.json:2:", "prot", "port"],
        ),
        (
            b"{ gateway: { port: \"18789\" } }",
            &["clawdbot.json:1:", "string"],
        ),
        (b"{ gateway: { port: 1, port: 2 } }", &["port", "twice"]),
        (b"{ gateway: { port: 0 } }", &["port", "65535"]),
        (b"{ gateway: { port: 70000 } }", &["port", "65535"]),
        (b"{ gateway: { bind: 'all' } }", &["bind", "loopback"]),
        (
            b"{ gateway: { auth: { mode: 'none' } } }",
            &["mode", "token"],
        ),
        (nested.as_bytes(), &["clawdbot.json:1:", "64"]),
    ];
    for (text, expected) in cases {
        let shown = String::from_utf8_lossy(&text[..text.len().min(60)]);
        let output = up_with(text);
        assert_eq!(output.code, Some(78), "{shown}: {output:?}");
        for word in expected {
            assert!(
                output.stderr.contains(word),
                "{shown}: {word} in {}",
                output.stderr
            );
        }
    }
}

#[test]
fn all_errors_of_a_file_come_at_once() {
    let output = up_with(b"{ gateway: { prot: 1, bind: 'all' }, agnets: {} }");
    assert_eq!(output.code, Some(78));
    for word in ["prot", "bind", "agnets"] {
        assert!(output.stderr.contains(word), "{word} in {}", output.stderr);
    }
}

#[test]
fn bytes_that_are_no_text_and_text_that_deceives_are_shown_safely() {
    let output = up_with(b"{ gateway: { \xff: 1 } }");
    assert_eq!(output.code, Some(78), "{output:?}");
    let bidi = "{ gateway: { 'p\u{202e}trop': 1, '\u{1b}[31mred': 2 } }";
    let output = up_with(bidi.as_bytes());
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(
        !output.stderr.contains('\u{202e}') && !output.stderr.contains('\u{1b}'),
        "{output:?}"
    );
}

#[test]
fn a_configuration_that_is_no_readable_file_is_refused() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.state().join("clawdbot.json")).unwrap();
    let output = scratch.clawdbot(&["up"]);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("directory"), "{output:?}");

    if runs_as_root() {
        return skip(
            "an unreadable configuration is refused",
            "root can read every file",
        );
    }
    let scratch = Scratch::new();
    scratch.configure("{}");
    let file = scratch.state().join("clawdbot.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    let output = scratch.clawdbot(&["up"]);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(
        output.stderr.to_lowercase().contains("permission"),
        "{output:?}"
    );
}

#[test]
fn a_state_directory_that_others_can_write_is_refused_with_the_remedy() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.state()).unwrap();
    std::fs::set_permissions(scratch.state(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = scratch.clawdbot(&["up"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("chmod 700"), "{output:?}");
}

#[test]
fn a_state_directory_of_somebody_else_is_refused() {
    if runs_as_root() {
        return skip(
            "a state directory of somebody else",
            "root_start has the case for root",
        );
    }
    let scratch = Scratch::new();
    let output = scratch.clawdbot(&["up", "--state-dir", "/usr"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("belongs to user 0"), "{output:?}");
}

#[test]
fn a_second_start_on_the_same_state_is_refused_and_the_first_goes_on() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let second = scratch.clawdbot(&["up", "--port", &free_port().to_string()]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("already running"), "{second:?}");
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn an_occupied_port_is_named_with_a_way_out() {
    let scratch = Scratch::new();
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = occupied.local_addr().unwrap().port();
    let output = scratch.clawdbot(&["up", "--port", &port.to_string()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(&port.to_string()), "{output:?}");
    assert!(output.stderr.contains("--port"), "{output:?}");
}

#[test]
fn a_bad_port_argument_is_a_usage_error() {
    let scratch = Scratch::new();
    for port in ["0", "70000", "x"] {
        let output = scratch.clawdbot(&["up", "--port", port]);
        assert_eq!(output.code, Some(2), "{output:?}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_and_the_longest_is_answered() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let mut talk = product.talk();
    let refused = talk
        .send("too-long", "main", &"x".repeat(1 << 20))
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused.code(),
            tonic::Code::InvalidArgument | tonic::Code::ResourceExhausted | tonic::Code::OutOfRange
        ),
        "{refused:?}"
    );
    let answer = talk.answer("longest", "main", &"x".repeat(256 << 10)).await;
    assert!(!answer.is_empty());
    assert_eq!(product.stop(), Some(0));
}

#[tokio::test]
async fn control_and_bidi_characters_are_data_and_never_reach_the_terminal() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let text = "run x\u{202e}\u{1b}]0;title\u{7} {\"a\":\"\u{1b}[2J\"}";
    let shown = scratch.clawdbot(&["chat", "--message", text]).ok();
    assert!(
        !shown.stdout.contains('\u{1b}') && !shown.stdout.contains('\u{202e}'),
        "{shown:?}"
    );
    let mut talk = product.talk();
    let events = talk.send("control", "main", text).await.unwrap();
    assert!(
        matches!(events.last(), Some(Event::Answer(_))),
        "{events:?}"
    );
    assert_eq!(product.stop(), Some(0));
}

#[tokio::test]
async fn ids_and_names_outside_their_grammar_are_refused() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let mut talk = product.talk();
    for (id, session, text) in [
        ("", "main", "x"),
        ("a b", "main", "x"),
        (&"i".repeat(129), "main", "x"),
        ("id", "../main", "x"),
        ("id", "MAIN", "x"),
        ("id", "main", ""),
    ] {
        let refused = talk.send(id, session, text).await.unwrap_err();
        assert_eq!(
            refused.code(),
            tonic::Code::InvalidArgument,
            "{id:?} {session:?}: {refused:?}"
        );
    }
    talk.answer("good", "main", "x").await;
    let reused = talk.send("good", "main", "another text").await.unwrap_err();
    assert_eq!(reused.code(), tonic::Code::InvalidArgument, "{reused:?}");
    assert_eq!(product.stop(), Some(0));
}

/// Writes raw bytes to the front door; what came back until it closed.
fn raw(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The server may close while we still write.
    let _closed = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn rubbish_at_the_front_door_is_bounded_and_hurts_nobody() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let port = product.port;
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"\xff\xfe\xfd\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        (
            format!("GET /\u{ff} HTTP/1.1\r\n{host}\r\n").into_bytes(),
            "HTTP/1.1 40",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\n{host}X-Long: {}\r\n\r\n",
                "x".repeat(64 << 10)
            )
            .into_bytes(),
            "HTTP/1.1 431",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_vec(),
            "HTTP/1.1 4",
        ),
        (
            format!("GET /nothing HTTP/1.1\r\n{host}Connection: close\r\n\r\n").into_bytes(),
            "HTTP/1.1 404",
        ),
    ];
    for (bytes, expected) in cases {
        let answer = raw(port, &bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(50)]).into_owned();
        assert!(answer.starts_with(expected), "{shown}: {answer:?}");
    }
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn a_torn_transcript_loses_its_last_line_and_nothing_else() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    scratch
        .clawdbot(&["chat", "--message", "remember this"])
        .ok();
    assert_eq!(product.stop(), Some(0));
    let sessions = scratch.state().join("sessions/main");
    let transcript = std::fs::read_dir(&sessions)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .unwrap();
    let mode = std::fs::metadata(&transcript).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&transcript)
        .unwrap();
    file.write_all(b"{\"type\":\"message\",\"id\":\"to")
        .unwrap();
    let product = Start::new().up(&scratch);
    scratch.clawdbot(&["chat", "--message", "go on"]).ok();
    let text = std::fs::read_to_string(&transcript).unwrap();
    assert!(text.contains("remember this") && text.contains("go on"));
    for line in text.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
    assert_eq!(product.stop(), Some(0));
}
