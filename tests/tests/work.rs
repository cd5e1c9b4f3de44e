//! Every process at its work, and none of them is ended by its own filter: chat, tools, HTTP, the web page, Telegram, logging
//! in, a changed configuration, restarts. `cargo xtask minimal` runs this for each row of the filters, without that row.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_fakes::provider::{Provider, Reply};
use clawdbot_fakes::telegram::Telegram;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::{Output, Product, Scratch, Start, finish};
use rustix::process::Signal;
use serde_json::{Value, json};

const TOKEN: &str = "work-0123456789abcdef0123456789abcdef";
const BOT: &str = "4242:AAE-test_token";
const OWNER: i64 = 11;
const STRANGER: i64 = 22;
const PATIENCE: Duration = Duration::from_secs(60);

fn configuration(provider: &Provider, telegram: &Telegram, level: &str) -> String {
    let base = format!("http://{}", provider.address());
    let configuration = json!({
        "gateway": { "auth": { "token": TOKEN }, "http": { "endpoints": {
            "chatCompletions": { "enabled": true }, "responses": { "enabled": true },
        } } },
        "agents": { "defaults": { "model": "echo/m" } },
        "logging": { "level": level },
        "messages": { "inbound": { "debounceMs": 0 } },
        "models": { "providers": {
            "echo": { "baseUrl": format!("{base}/v1"), "api": "openai-completions" },
            "other": { "baseUrl": base, "api": "anthropic-messages" },
        } },
        "channels": { "telegram": { "apiRoot": format!("http://{}", telegram.address()), "allowFrom": [OWNER] } },
    });
    configuration.to_string()
}

#[test]
fn no_process_is_ended_by_its_own_filter() {
    let scratch = Arc::new(Scratch::new());
    let (provider, telegram) = fakes();
    telegram.bot(BOT, |_| ());
    scratch.configure(&configuration(&provider, &telegram, "info"));
    let product = Start::new()
        .variable("TELEGRAM_BOT_TOKEN", BOT)
        .up(&scratch);
    let (supervisor, filtered) = (product.supervisor(), product.ended_by_filter());
    let work = {
        let scratch = Arc::clone(&scratch);
        std::thread::spawn(move || {
            let work = Work {
                scratch: &scratch,
                provider: &provider,
                telegram: &telegram,
            };
            work.all(product);
        })
    };
    // A process that is killed is started again, and much would go on after a while.
    let first = || filtered.lock().unwrap().first().cloned();
    while !work.is_finished() {
        if let Some(ended) = first() {
            supervisor.signal(Signal::KILL);
            // What the work says when it cannot go on is not the reason.
            panic!("ended by its own filter: {ended}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let done = work.join();
    assert_eq!(first(), None, "ended by its own filter");
    done.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A provider and a Telegram, served by a thread that goes on to the end.
fn fakes() -> (Provider, Telegram) {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let provider = Provider::start().await.unwrap();
            let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
            send.send((provider, telegram)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receive.recv().unwrap()
}

struct Work<'a> {
    scratch: &'a Scratch,
    provider: &'a Provider,
    telegram: &'a Telegram,
}

impl Work<'_> {
    fn all(&self, mut product: Product) {
        self.talk(&product, "first");
        self.http(product.port);
        self.telegram();
        self.commands();
        self.credentials();
        self.reconfigure();
        for (role, seen) in product.processes() {
            if role != "supervisor" {
                product.kill(&role, seen);
            }
        }
        self.talk(&product, "again");
        self.chat(OWNER, "hello again", "You said: hello again");
        assert_eq!(product.stop(), Some(0));
        // On the state that is there now, and with the built-in guide.
        self.scratch.configure("{}");
        let product = Start::new().up(self.scratch);
        for (text, expected) in [("hello", ""), ("run session_status {}", "agent:main")] {
            let answer = self.clawdbot(&["chat", "--message", text]);
            assert!(answer.stdout.contains(expected), "{answer:?}");
        }
        assert_eq!(product.stop(), Some(0));
    }

    /// Over the operator's socket: text, a long text, a tool, another provider.
    fn talk(&self, product: &Product, name: &str) {
        let long = "long ".repeat(5000);
        self.provider
            .reply(Reply::call("call_1", "session_status", "{}"));
        self.provider.reply(Reply::text("it is fine"));
        let texts = [
            ("run it", "it is fine"),
            ("hello", "hello"),
            (&long, "long"),
            ("/status", "echo/m"),
            ("/model other/m", "other/m"),
            ("over there", "over there"),
            ("/new", ""),
        ];
        for (number, (text, expected)) in texts.into_iter().enumerate() {
            let (mut talk, id) = (product.talk(), format!("{name}-{number}"));
            let answer = runtime().block_on(talk.answer(&id, name, text));
            assert!(answer.contains(expected), "{text:.40}: {answer:.400}");
        }
    }

    fn http(&self, port: u16) {
        let completion = json!({ "model": "clawdbot", "stream": true, "messages": [{ "role": "user", "content": "by http" }] });
        let response = json!({ "model": "clawdbot", "input": "by responses" });
        for (path, body, expected) in [
            ("/healthz", None, "200"),
            ("/", None, "<html"),
            ("/v1/models", None, "clawdbot"),
            ("/v1/chat/completions", Some(completion), "[DONE]"),
            ("/v1/responses", Some(response), "by responses"),
        ] {
            let answer = request(port, path, body.as_ref());
            assert!(answer.contains(expected), "{path}: {answer}");
        }
    }

    /// The owner, and somebody who has to pair first.
    fn telegram(&self) {
        self.chat(OWNER, "hello", "You said: hello");
        self.chat(OWNER, "run session_status {}", "You said: run");
        let asked = self.chat(STRANGER, "let me in", "pairing approve");
        let code = asked
            .split("pairing approve telegram ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("no code: {asked}"))
            .to_owned();
        self.clawdbot(&["pairing", "list"]);
        self.clawdbot(&["pairing", "approve", "telegram", &code]);
        self.chat(STRANGER, "hello", "You said: hello");
    }

    /// Writes and waits for what comes back.
    fn chat(&self, sender: i64, text: &str, expected: &str) -> String {
        let before = self.telegram.bot(BOT, |bot| bot.sent.len());
        self.telegram.bot(BOT, |bot| {
            bot.write("message", json!({ "chat": sender, "text": text }))
        });
        let found = || {
            self.telegram.bot(BOT, |bot| {
                let mut new = bot.sent[before..].iter();
                new.find(|sent| sent.chat == sender && sent.text.contains(expected))
                    .map(|sent| sent.text.clone())
            })
        };
        assert!(
            eventually(PATIENCE, || found().is_some()),
            "{text}: no answer"
        );
        found().unwrap()
    }

    fn commands(&self) {
        for command in [
            &["chat", "--message", "by hand"] as &[&str],
            &["status"],
            &["topology"],
            &["doctor"],
            &["logs", "--limit", "5"],
            &["sessions"],
            &["token", "--rotate"],
            &["open"],
        ] {
            let output = self.scratch.clawdbot(command);
            assert!(output.code.is_some_and(|code| code < 3), "{output:?}");
        }
    }

    fn credentials(&self) {
        self.login("sk-first-0123456789abcdef");
        self.login("sk-second-0123456789abcdef");
        let listed = self.clawdbot(&["credentials", "list"]);
        assert!(listed.stdout.contains("echo"), "{listed:?}");
        self.clawdbot(&["chat", "--message", "with a key"]);
        self.clawdbot(&["logout", "--provider", "echo"]);
    }

    fn login(&self, key: &str) {
        let mut command = self.scratch.program("clawdbot");
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(key.as_bytes()).unwrap();
        drop(writer);
        command
            .args(["login", "--provider", "echo"])
            .stdin(Stdio::from(reader));
        finish(&mut command).ok();
    }

    /// A bad file, then a good one with something changed.
    fn reconfigure(&self) {
        self.scratch.configure("{ gateway: { prot: 1 } }");
        let shown = || {
            self.scratch
                .clawdbot(&["status", "--json"])
                .stdout
                .contains("prot")
        };
        assert!(eventually(PATIENCE, shown), "the mistake is shown");
        self.scratch
            .configure(&configuration(self.provider, self.telegram, "debug"));
        assert!(eventually(PATIENCE, || !shown()), "it is good again");
    }

    fn clawdbot(&self, arguments: &[&str]) -> Output {
        self.scratch.clawdbot(arguments).ok()
    }
}

/// One request over a connection of its own; the whole answer.
fn request(port: u16, path: &str, body: Option<&Value>) -> String {
    let body = body.map(Value::to_string).unwrap_or_default();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {TOKEN}\r\n\
         connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    let mut answer = String::new();
    let _cut = stream.read_to_string(&mut answer);
    answer
}
