//! Routes, names, origins, credentials and the login.

use std::sync::atomic::Ordering;

use super::{Client, ask, bearer};
use crate::testing::{CODE, PASSWORD, TOKEN, World, listener, snapshot};

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

async fn world() -> (tempfile::TempDir, World) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    (dir, world)
}

#[tokio::test]
async fn health_says_one_word_and_needs_a_configuration() {
    let (_dir, world) = world().await;
    let answer = ask(&world, "GET /healthz", "", "").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"status":"ok"}"#)
    );
    world.config.send_replace(None);
    assert_eq!(ask(&world, "GET /healthz", "", "").await.status, 503);
    let answer = ask(&world, "GET /", &bearer(), "").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("config validate"));
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_told_apart() {
    let (_dir, world) = world().await;
    for (line, status, allow) in [
        ("GET /nothing", 404, None),
        ("GET /healthz/", 404, None),
        ("POST /healthz", 405, Some("GET, HEAD")),
        ("DELETE /", 405, Some("GET, HEAD")),
        ("GET /logout", 405, Some("POST")),
        ("PUT /login", 405, Some("GET, HEAD, POST")),
        ("GET /ws", 426, None),
    ] {
        let answer = ask(&world, line, "", "").await;
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(answer.header("allow"), allow, "{line}");
    }
}

#[tokio::test]
async fn a_request_for_another_name_is_refused_on_every_path() {
    let (_dir, world) = world().await;
    let port = world.address.port();
    for path in ["/", "/healthz", "/login", "/nothing"] {
        for (host, status) in [
            (format!("evil.example:{port}"), 403),
            (format!("127.0.0.1:{}", port ^ 1), 403),
            ("a b".into(), 400),
        ] {
            let mut client = Client::new(&world).await;
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            client.write(request).await;
            assert_eq!(client.answer().await.status, status, "{path} {host}");
        }
    }
    for good in [format!("localhost:{port}"), "chat.example.org".into()] {
        let mut client = Client::new(&world).await;
        client
            .write(format!("GET /healthz HTTP/1.1\r\nhost: {good}\r\n\r\n"))
            .await;
        assert_eq!(client.answer().await.status, 200, "{good}");
    }
    for (head, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            format!(
                "GET /healthz HTTP/1.1\r\nhost: localhost:{port}\r\nhost: localhost:{port}\r\n\r\n"
            ),
            400,
        ),
        (
            format!("GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n"),
            400,
        ),
        (
            format!(
                "GET http://localhost:{port}/healthz HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n"
            ),
            200,
        ),
    ] {
        let mut client = Client::new(&world).await;
        client.write(&head).await;
        assert_eq!(client.answer().await.status, status, "{head}");
    }
}

#[tokio::test]
async fn a_foreign_page_can_change_nothing_and_open_no_socket() {
    let (_dir, world) = world().await;
    let own = format!("origin: http://{}\r\n", world.address);
    let upgrade = format!(
        "{}connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        bearer()
    );
    for (origin, allowed) in [
        ("", true),
        (own.as_str(), true),
        ("origin: https://chat.example.org\r\n", true),
        ("origin: http://127.0.0.1:1\r\n", false),
        ("origin: https://evil.example\r\n", false),
        ("origin: null\r\n", false),
        (
            "origin: http://a.example\r\norigin: http://b.example\r\n",
            false,
        ),
    ] {
        let answer = ask(&world, "POST /logout", origin, "").await;
        assert_eq!(answer.status, if allowed { 303 } else { 403 }, "{origin}");
        let answer = ask(&world, "POST /login", &format!("{origin}{FORM}"), "code=no").await;
        assert_eq!(answer.body.contains("may not act"), !allowed, "{origin}");
        for path in ["GET /", "GET /ws"] {
            let answer = ask(&world, path, &format!("{origin}{upgrade}"), "").await;
            assert_eq!(answer.status, if allowed { 101 } else { 403 }, "{origin}");
        }
    }
}

#[tokio::test]
async fn a_token_is_checked_each_time_and_being_local_is_not_enough() {
    let (_dir, world) = world().await;
    let answer = ask(&world, "GET /", "", "").await;
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("clawdbot open"));
    let answer = ask(&world, "GET /", &bearer(), "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("clawdbot chat"));
    for wrong in [
        "Bearer wrong",
        "Bearer",
        "Basic cmlnaHQ=",
        &format!("bearer x{TOKEN}"),
    ] {
        let header = format!("authorization: {wrong}\r\n");
        let answer = ask(&world, "GET /", &header, "").await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(
            answer.body.contains(r#""type":"unauthorized""#),
            "{}",
            answer.body
        );
    }
    assert!(
        world
            .policy
            .sources
            .lock()
            .unwrap()
            .iter()
            .all(|s| s == "127.0.0.1")
    );

    let mut client = Client::new(&world).await;
    assert_eq!(client.ask("GET /", &bearer(), "").await.status, 200);
    assert_eq!(client.ask("GET /", "", "").await.status, 401);
}

#[tokio::test]
async fn in_password_mode_the_password_opens_and_the_token_does_not() {
    let (_dir, world) = world().await;
    world
        .config
        .send_replace(snapshot(|slice| slice.auth_mode = "password".into()));
    let header = format!("authorization: Bearer {PASSWORD}\r\n");
    assert_eq!(ask(&world, "GET /", &header, "").await.status, 200);
    assert_eq!(ask(&world, "GET /", &bearer(), "").await.status, 401);
}

#[tokio::test]
async fn a_locked_out_source_is_told_how_long() {
    let (_dir, world) = world().await;
    world.policy.limited.store(true, Ordering::Relaxed);
    let answer = ask(&world, "GET /", &bearer(), "").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("300"))
    );
    // Until then policy need not be asked again, and the login is shut as well.
    world.policy.limited.store(false, Ordering::Relaxed);
    let asked = world.policy.sources.lock().unwrap().len();
    for (line, headers, body) in [
        ("GET /", bearer(), ""),
        ("POST /login", FORM.to_owned(), "code=right-code"),
    ] {
        assert_eq!(
            ask(&world, line, &headers, body).await.status,
            429,
            "{line}"
        );
    }
    assert_eq!(world.policy.sources.lock().unwrap().len(), asked);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(301)).await;
    tokio::time::resume();
    assert_eq!(ask(&world, "GET /", &bearer(), "").await.status, 200);
}

#[tokio::test]
async fn credentials_in_the_address_are_refused() {
    let (_dir, world) = world().await;
    for line in [
        format!("GET /?token={TOKEN}"),
        format!("GET /ws?Password={TOKEN}"),
    ] {
        let answer = ask(&world, &line, "", "").await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("clawdbot open") && !answer.body.contains(TOKEN));
    }
}

#[tokio::test]
async fn a_login_link_is_used_up_by_the_button_and_not_by_looking_at_it() {
    let (_dir, world) = world().await;
    let line = format!("GET /login?code={CODE}");
    for _ in 0..2 {
        let answer = ask(&world, &line, "", "").await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains(&format!("value=\"{CODE}\"")));
        assert_eq!(answer.header("set-cookie"), None);
    }
    let form = format!("code={CODE}");
    let answer = ask(&world, "POST /login", FORM, &form).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"));

    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(ask(&world, "GET /", &cookie, "").await.status, 200);
    let again = ask(&world, "POST /login", FORM, &form).await;
    assert_eq!((again.status, again.header("set-cookie")), (403, None));
    assert!(again.body.contains("clawdbot open"));
    world.policy.keys.lock().unwrap().clear();
    assert_eq!(ask(&world, "GET /", &cookie, "").await.status, 401);
}

#[tokio::test]
async fn a_token_or_password_signs_a_browser_in_by_the_form() {
    let (_dir, world) = world().await;
    let right = format!("password={TOKEN}");
    let answer = ask(&world, "POST /login", FORM, &right).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap().split(';').next();
    let cookie = format!("cookie: {}\r\n", cookie.unwrap());
    assert_eq!(ask(&world, "GET /", &cookie, "").await.status, 200);

    let answer = ask(&world, "POST /login", FORM, "password=%3Cwrong").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (401, None));
    assert!(answer.body.contains("type=\"password\"") && answer.body.contains("role=\"alert\""));
    assert!(!answer.body.contains("wrong<") && !answer.body.contains("<wrong"));

    world
        .config
        .send_replace(snapshot(|slice| slice.auth_mode = "password".into()));
    let word = PASSWORD.replace(' ', "+").replace('é', "%C3%A9");
    let answer = ask(&world, "POST /login", FORM, &format!("password={word}")).await;
    assert_eq!(answer.status, 303);
    assert_eq!(ask(&world, "POST /login", FORM, &right).await.status, 401);

    world.policy.limited.store(true, Ordering::Relaxed);
    let answer = ask(&world, "POST /login", FORM, "password=x").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("300"))
    );
}

#[tokio::test]
async fn files_of_the_page_are_kept_under_the_address_of_their_content_only() {
    let (_dir, world) = world().await;
    let page = ask(&world, "GET /", &bearer(), "").await;
    let address = page
        .body
        .split('"')
        .find(|part| part.starts_with("/assets/app.js?v="));
    let address = address.unwrap();
    // They are no secret: the sign-in page needs one, too.
    let kept = ask(&world, &format!("GET {address}"), "", "").await;
    assert_eq!(kept.status, 200);
    assert_eq!(
        kept.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert!(kept.header("cache-control").unwrap().contains("immutable"));
    let tag = kept.header("etag").unwrap();
    for line in [
        "GET /assets/app.js",
        "GET /assets/app.js?v=0123456789abcdef",
    ] {
        let fresh = ask(&world, line, "", "").await;
        assert_eq!(fresh.header("cache-control"), Some("no-cache"), "{line}");
        assert_eq!((fresh.header("etag"), &fresh.body), (Some(tag), &kept.body));
        let headers = format!("if-none-match: {tag}\r\n");
        let same = ask(&world, line, &headers, "").await;
        assert_eq!((same.status, same.body.as_str()), (304, ""));
    }
    assert_eq!(
        ask(&world, "GET /assets/other.js", "", "").await.status,
        404
    );
    assert_eq!(ask(&world, "POST /assets/app.js", "", "").await.status, 405);
    world.config.send_replace(None);
    assert_eq!(
        ask(&world, "GET /assets/style.css", "", "").await.status,
        200
    );
}

#[tokio::test]
async fn the_chat_runs_our_scripts_only_and_turns_no_text_into_markup() {
    let (_dir, world) = world().await;
    let page = ask(&world, "GET /", &bearer(), "").await;
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(
            policy.split("; ").any(|own| own == rule),
            "{rule}: {policy}"
        );
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let door = ask(&world, "GET /", "", "").await;
    assert!(
        !door
            .header("content-security-policy")
            .unwrap()
            .contains("script-src")
    );
}

#[tokio::test]
async fn a_cookie_given_through_an_https_proxy_is_for_https_only() {
    let (_dir, world) = world().await;
    let headers = format!("{FORM}origin: https://chat.example.org\r\n");
    let answer = ask(&world, "POST /login", &headers, &format!("code={CODE}")).await;
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"));
}

#[tokio::test]
async fn a_malformed_login_is_refused_and_says_what_to_do() {
    let (_dir, world) = world().await;
    for (headers, body, status) in [
        (FORM, "", 400),
        (FORM, "code=", 400),
        (FORM, "code=%3Cscript%3E", 400),
        (FORM, "other=1", 400),
        (
            "content-type: application/json\r\n",
            "{\"code\":\"x\"}",
            415,
        ),
        ("", "code=right-code", 415),
    ] {
        let answer = ask(&world, "POST /login", headers, body).await;
        assert_eq!(answer.status, status, "{body}");
    }
    let answer = ask(&world, "GET /login?code=<script>", "", "").await;
    assert_eq!(answer.status, 400);
    assert!(!answer.body.contains("<script"));
    assert!(!world.policy.redeemed.load(Ordering::Relaxed));
}

#[tokio::test]
async fn every_answer_is_closed_to_scripts_frames_and_caches() {
    let (_dir, world) = world().await;
    for line in [
        "GET /",
        "GET /healthz",
        "GET /login?code=a",
        "GET /none",
        "POST /logout",
    ] {
        let answer = ask(&world, line, "", "").await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn listeners_come_and_go_and_open_connections_stay() {
    let (_dir, world) = world().await;
    let mut old = Client::new(&world).await;
    assert_eq!(old.ask("GET /healthz", "", "").await.status, 200);
    let next = listener().await;
    let address = next.address;
    world.listeners.send_replace(vec![next]);
    let mut new = Client {
        stream: tokio::net::TcpStream::connect(address).await.unwrap(),
        address,
    };
    assert_eq!(new.ask("GET /healthz", "", "").await.status, 200);
    assert_eq!(old.ask("GET /healthz", "", "").await.status, 200);
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err());
}
