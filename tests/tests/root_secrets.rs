//! Where the secrets are while the product works, is answered with errors that repeat them, crashes and is started anew:
//! with their owners and nowhere else, in no form, and after a change or a log-out nowhere any more.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use clawdbot_fakes::provider::{Fault, Provider, Reply};
use clawdbot_fakes::telegram::{Fault as BotFault, Telegram};
use clawdbot_proto::v1::chat_event::Event;
use clawdbot_tests::hunt::{Canary, Hunt};
use clawdbot_tests::kernel::{Seen, eventually};
use clawdbot_tests::{Product, Scratch, Start, runs_as_root};
use rustix::process::Signal;
use serde_json::json;

const ENV_KEY: &str = "sk-env-canary-Qm7Rz2Xv9Lk4Tn8Wb3Yd6Hs1Jp5Gc0Fa";
const VAULT_KEY: &str = "sk-vault-canary-Kc4Np9Tw2Zx7Bv5Mq8Rj1Ly6Dg3Hs0Fe";
const NEW_VAULT_KEY: &str = "sk-second-canary-Vb6Xn1Qz8Pm3Kt7Rw4Yc9Lj2Hd5Gs0Fu";
const LITERAL_KEY: &str = "sk-literal-canary-Tj3Wd8Hq5Vz1Nk6Bx9Rm4Pc7Ys2Lg0Fi";
const HEADER: &str = "header-canary-Pw9Bt4Jx7Lq2Vn6Kz1Rc8Md5Yh3Ts0GfAo";
const BOT_TOKEN: &str = "471100815:bot-canary_Zk5Qt8Wn2Vx7Jb4Lr9Mp1Yc6Hd3Gs0Fw";
const GATEWAY_TOKEN: &str = "gateway-canary-Hx2Mv7Kp4Tz9Wq1Nb6Rj8Lc3Yd5Gs0Fy";
const PASSWORD: &str = "password-canary-Nd8Yk3Vt6Xq1Zb9Wm4Rp7Jc2Lh5Gs0Fo";
/// Said in a chat: what the search has to find for its silence about the others to mean something.
const MESSAGE: &str = "message-canary-Gr1Lz6Tn3Kx8Vq5Wb2Mj9Yp4Hd7Cs0Fk";

const MODELS: [(&str, &str); 3] = [
    ("fromenv", ENV_KEY),
    ("vaulted", VAULT_KEY),
    ("written", LITERAL_KEY),
];

fn canary(name: &'static str, text: &str) -> Canary {
    Canary {
        name,
        text: text.into(),
    }
}

fn canaries() -> Vec<Canary> {
    vec![
        canary("key of the environment", ENV_KEY),
        canary("key of the vault", VAULT_KEY),
        canary("second key of the vault", NEW_VAULT_KEY),
        canary("key in the configuration", LITERAL_KEY),
        canary("header in the configuration", HEADER),
        canary("bot token", BOT_TOKEN),
        canary("gateway token", GATEWAY_TOKEN),
        canary("password", PASSWORD),
        canary("message", MESSAGE),
    ]
}

/// Both servers, in a thread of their own: a test waits without giving way.
fn servers() -> (Provider, Telegram) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let provider = Provider::start().await.unwrap();
            let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
            sender.send((provider, telegram)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

/// The product with all its secrets, and everybody it talks to.
struct Stage {
    scratch: Scratch,
    provider: Provider,
    telegram: Telegram,
    product: Product,
    processes: BTreeMap<String, Seen>,
    printed: Vec<(String, String)>,
    questions: usize,
}

impl Stage {
    /// `hidden`: with memory for secrets. Without, they lie in memory that root can read, where they are found.
    fn start(mode: &str, hidden: bool) -> Self {
        assert!(runs_as_root(), "these tests are root's");
        let (provider, telegram) = servers();
        telegram.bot(BOT_TOKEN, |_| ());
        let scratch = Scratch::passable();
        let url = format!("http://{}", provider.address());
        let configuration = json!({
            "gateway": {
                "auth": { "mode": mode },
                "http": { "endpoints": { "chatCompletions": { "enabled": true } } },
            },
            "agents": { "defaults": { "model": "fromenv/m" } },
            "models": { "providers": {
                "fromenv": { "baseUrl": format!("{url}/v1"), "api": "openai-completions", "apiKey": "${CANARY_KEY}" },
                "vaulted": { "baseUrl": url, "api": "anthropic-messages" },
                "written": {
                    "baseUrl": format!("{url}/v1"), "api": "openai-responses", "apiKey": LITERAL_KEY,
                    "headers": { "x-canary": HEADER },
                },
            } },
            "channels": { "telegram": {
                "apiRoot": format!("http://{}", telegram.address()), "dmPolicy": "open", "allowFrom": ["*"],
            } },
        });
        scratch.configure(&configuration.to_string());
        scratch.give_to_nobody();
        let start = match hidden {
            true => Start::new(),
            false => Start::new().under("no-memfd-secret"),
        };
        let product = start
            .argument("--user")
            .argument("nobody")
            .variable("CANARY_KEY", ENV_KEY)
            .variable("TELEGRAM_BOT_TOKEN", BOT_TOKEN)
            .variable("CLAWDBOT_GATEWAY_TOKEN", GATEWAY_TOKEN)
            .variable("CLAWDBOT_GATEWAY_PASSWORD", PASSWORD)
            .up(&scratch);
        let processes = product.processes().into_iter().collect();
        Self {
            scratch,
            provider,
            telegram,
            product,
            processes,
            printed: Vec::new(),
            questions: 0,
        }
    }

    /// Runs a command and keeps what it printed for the search.
    fn command(&mut self, arguments: &[&str], input: &str) {
        let mut command = self.scratch.program("clawdbot");
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        self.printed.push((arguments.join(" "), text));
    }

    /// A command that may find something to complain about.
    fn show(&mut self, arguments: &[&str]) {
        let output = self.scratch.clawdbot(arguments);
        self.printed
            .push((arguments.join(" "), format!("{output:?}")));
    }

    fn login(&mut self, key: &str) {
        let arguments = [
            "login",
            "--provider",
            "vaulted",
            "--key-source",
            "file",
            "--no-check",
        ];
        self.command(&arguments, key);
    }

    /// Asks a model in a session of its own; its words or the failure's, kept for the search.
    async fn ask(&mut self, model: &str, text: &str) -> Result<String, String> {
        self.questions += 1;
        let session = format!("s{}", self.questions);
        let mut talk = self.product.talk();
        let mut last = Err(String::new());
        for (step, text) in [format!("/model {model}/m"), text.to_owned()]
            .iter()
            .enumerate()
        {
            let id = format!("{session}-{step}");
            let events = talk.send(&id, &session, text).await.unwrap();
            self.printed
                .push((format!("answer of {model}"), format!("{events:?}")));
            last = match events.into_iter().last() {
                Some(Event::Answer(answer)) => Ok(answer.text),
                Some(Event::Failed(failed)) => Err(failed.message),
                other => panic!("{other:?}"),
            };
        }
        last
    }

    /// A question over Telegram, answered there.
    async fn telegram(&mut self) {
        let before = self.telegram.bot(BOT_TOKEN, |bot| {
            bot.write("message", json!({ "chat": 77, "text": "hello over there" }));
            bot.sent.len()
        });
        let answered = self
            .telegram
            .until(BOT_TOKEN, |bot| bot.sent.len() > before);
        tokio::time::timeout(Duration::from_secs(120), answered)
            .await
            .unwrap();
    }

    /// The front door, opened with this word.
    async fn knock(&mut self, word: &str) -> String {
        let port = self.product.port;
        let body =
            json!({ "model": "clawdbot", "messages": [{ "role": "user", "content": "hello" }] })
                .to_string();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {word}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(120)))
                .unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = asked.await.unwrap();
        self.printed.push(("front door".into(), answer.clone()));
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// How often a dialer was told who may dial what.
    fn lists(&self) -> usize {
        self.product
            .log()
            .matches("took the destination lists")
            .count()
    }

    /// Ends a process with a signal and waits for its successor.
    fn end(&mut self, role: &str, signal: Signal) {
        let lists = self.lists();
        self.processes[role].signal(signal);
        for state in ["ended", "ready"] {
            let event = self
                .product
                .event_where("process", |e| e["role"] == role && e["state"] == state);
            self.printed.push(("events".into(), event.to_string()));
            if state == "ready" {
                let pid = u32::try_from(event["pid"].as_u64().unwrap()).unwrap();
                self.processes.insert(role.into(), Seen(pid));
            }
        }
        // It may not dial before, and nobody waits long for it.
        let told = || role != "dialer" || self.lists() > lists;
        assert!(eventually(Duration::from_secs(60), told), "no lists");
    }

    /// A conversation with every model, over every way in.
    async fn work(&mut self) {
        for (model, _) in MODELS {
            let said = format!("hello {model}, {MESSAGE}");
            let answer = self.ask(model, &said).await;
            assert!(
                answer.as_ref().is_ok_and(|text| text.contains(&said)),
                "{model}: {answer:?}"
            );
        }
        self.provider
            .reply(Reply::call("call_1", "session_status", "{}"));
        self.provider.reply(Reply::text("done"));
        assert_eq!(
            self.ask("fromenv", "use a tool").await.as_deref(),
            Ok("done")
        );
        self.telegram().await;
    }

    /// Everybody's errors, with the secret in them as a careless server would have it.
    async fn errors(&mut self) {
        for (model, key) in MODELS {
            for status in [400, 500, 401] {
                let header = if model == "written" { HEADER } else { "none" };
                let words = format!(
                    "you sent Authorization: Bearer {key}, x-api-key: {key}, x-canary: {header}"
                );
                let fault = Fault::status(status)
                    .saying(&words)
                    .with_header("x-echo", key);
                // Some errors are tried again.
                for _ in 0..6 {
                    self.provider.fault(fault.clone());
                }
                let answer = self.ask(model, "what is wrong?").await;
                assert!(answer.is_err(), "{model}: {answer:?}");
                while self.provider.forget().is_some() {}
            }
        }
        self.telegram.bot(BOT_TOKEN, |bot| {
            for (method, code) in [
                ("sendChatAction", 400),
                ("getUpdates", 502),
                ("sendMessage", 400),
            ] {
                let words = format!("Bad Request: no chat at /bot{BOT_TOKEN}/{method}");
                bot.faults
                    .push_back((method.into(), BotFault::Refuse(code, words), 1));
            }
            bot.write(
                "message",
                json!({ "chat": 78, "text": "this answer cannot be sent" }),
            );
        });
        // Whether it shows that it types depends on how long the answer takes.
        let over = self.telegram.until(BOT_TOKEN, |bot| {
            let mut left = bot.faults.iter();
            left.all(|(method, ..)| method == "sendChatAction")
        });
        tokio::time::timeout(Duration::from_secs(120), over)
            .await
            .unwrap();
        self.telegram.bot(BOT_TOKEN, |bot| bot.faults.clear());
    }

    /// Searches everything there is.
    fn hunt(&mut self) -> Hunt {
        let mut hunt = Hunt::new(&canaries());
        let said = self.product.said();
        self.printed.push(("events".into(), said));
        for (role, seen) in &self.processes {
            hunt.process(role, *seen);
        }
        for (what, text) in &self.printed {
            hunt.bytes(&format!("printed: {what}"), text.as_bytes());
        }
        hunt.folder("scratch", self.scratch.path());
        hunt
    }
}

/// Who has which secret: the processes in whose memory it is, and everything else where it may be. `?` stands before who
/// may have it for a while: a buffer of a connection keeps what was said last.
type Holders = [(&'static str, &'static [&'static str]); 8];

const CONFIGURATION: &str = "scratch/home/.clawdbot/clawdbot.json";
const HOLDERS: Holders = [
    (
        "key of the environment",
        &[
            "broker memory",
            "model-fromenv memory",
            "supervisor descriptor memfd:environment",
        ],
    ),
    // The vault is opened for a moment; on disk it is encrypted.
    (
        "key of the vault",
        &["?broker memory", "model-vaulted memory"],
    ),
    ("second key of the vault", &[]),
    // A literal is handed on by policy, again whenever the broker was started anew.
    (
        "key in the configuration",
        &[
            "broker memory",
            "model-written memory",
            "policy memory",
            CONFIGURATION,
        ],
    ),
    (
        "header in the configuration",
        &[
            "broker memory",
            "model-written memory",
            "policy memory",
            CONFIGURATION,
        ],
    ),
    (
        "bot token",
        &[
            "broker memory",
            "channel-telegram memory",
            "supervisor descriptor memfd:environment",
        ],
    ),
    (
        "gateway token",
        &["policy memory", "supervisor descriptor memfd:gateway-token"],
    ),
    (
        "password",
        &[
            "policy memory",
            "supervisor descriptor memfd:gateway-password",
        ],
    ),
];

/// Compares what was found with the table. Where memory for secrets cannot be read from outside, owners need not be found.
#[track_caller]
fn agrees(hunt: &Hunt, hidden: bool) {
    let places = hunt.places();
    let mut surprises = Vec::new();
    for (secret, holders) in HOLDERS {
        let found = places.get(secret).cloned().unwrap_or_default();
        println!("{secret}: {}", found.join(", "));
        for place in &found {
            if !holders
                .iter()
                .any(|holder| holder.trim_start_matches('?') == place)
            {
                surprises.push(format!("{secret} is in {place}"));
            }
        }
        for holder in holders {
            let unseen = hidden && holder.ends_with(" memory");
            if !unseen && !holder.starts_with('?') && !found.iter().any(|place| place == holder) {
                surprises.push(format!("{secret} was not found in {holder}"));
            }
        }
    }
    // What was said is no secret; it only has to be found.
    let message = &places["message"];
    println!("message: {}", message.join(", "));
    for place in [" memory", "/sessions/main/", "printed: "] {
        if !message.iter().any(|found| found.contains(place)) {
            surprises.push(format!("the message was not found in any{place}"));
        }
    }
    println!("searched {:?}", hunt.searched);
    assert!(surprises.is_empty(), "{surprises:#?}\n{:#?}", hunt.found);
}

/// Everything that happens to secrets while the product works.
async fn live(stage: &mut Stage) {
    stage.login(VAULT_KEY);
    stage.work().await;
    let answer = stage.knock(GATEWAY_TOKEN).await;
    assert!(answer.contains("200"), "{answer}");
    let refused = stage.knock(PASSWORD).await;
    assert!(refused.contains("401"), "{refused}");
    stage.errors().await;
    for role in [
        "broker",
        "policy",
        "gateway",
        "model-fromenv",
        "channel-telegram",
        "agent-main",
        "executor",
    ] {
        stage.end(role, Signal::KILL);
    }
    // These would leave a core file.
    for role in ["model-vaulted", "model-written", "dialer"] {
        stage.end(role, Signal::ABORT);
    }
    stage.work().await;
    let answer = stage.knock(GATEWAY_TOKEN).await;
    assert!(answer.contains("200"), "{answer}");
    for command in [
        &["status"][..],
        &["doctor", "--deep"],
        &["credentials", "list"],
        &["topology"],
        &["logs"],
    ] {
        stage.show(command);
    }
}

#[tokio::test]
async fn every_secret_is_with_its_owner_and_nowhere_else() {
    let mut stage = Stage::start("token", true);
    live(&mut stage).await;
    let hunt = stage.hunt();
    let probe = clawdbot_confine::memory::LockedBytes::from_zeroizing(b"probe".to_vec().into());
    let hidden = probe.unwrap().kind() == clawdbot_confine::memory::Backing::Secret;
    assert_eq!(hunt.searched.hidden > 5, hidden, "{:?}", hunt.searched);
    agrees(&hunt, hidden);
    assert_eq!(stage.product.stop(), Some(0));
}

/// The control of the test before: without such memory secrets lie where the search can see them.
#[tokio::test]
async fn without_hidden_memory_the_search_finds_every_owner_and_nobody_else() {
    let mut stage = Stage::start("token", false);
    live(&mut stage).await;
    let hunt = stage.hunt();
    assert_eq!(hunt.searched.hidden, 0);
    agrees(&hunt, false);
    assert_eq!(stage.product.stop(), Some(0));
}

/// Searches until one of the secrets is gone: connections close and buffers are wiped a moment after a change.
async fn goes_away(stage: &mut Stage, secret: &str) {
    for pause in [0, 1, 2, 4, 8, 16] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        stage.printed.clear();
        if !stage.hunt().places().contains_key(secret) {
            return;
        }
    }
    panic!(
        "{secret} is still there: {:#?}",
        stage.hunt().places()[secret]
    );
}

#[tokio::test]
async fn after_a_new_login_and_after_a_logout_the_old_key_is_nowhere() {
    let mut stage = Stage::start("token", false);
    stage.login(VAULT_KEY);
    stage.work().await;
    // It is found as long as it is in use.
    assert!(stage.hunt().places()["key of the vault"].contains(&"model-vaulted memory".to_owned()));
    stage.login(NEW_VAULT_KEY);
    stage.work().await;
    let used = stage.provider.asked();
    let used = used
        .iter()
        .rev()
        .find_map(|seen| seen.headers.get("x-api-key").cloned());
    assert_eq!(used.unwrap(), NEW_VAULT_KEY);
    goes_away(&mut stage, "key of the vault").await;
    assert!(
        stage.hunt().places()["second key of the vault"]
            .contains(&"model-vaulted memory".to_owned())
    );
    stage.command(&["logout", "--provider", "vaulted"], "");
    goes_away(&mut stage, "second key of the vault").await;
    assert_eq!(stage.product.stop(), Some(0));
}

#[tokio::test]
async fn a_password_is_with_policy_alone() {
    let mut stage = Stage::start("password", false);
    let answer = stage.knock(PASSWORD).await;
    assert!(answer.contains("200"), "{answer}");
    let refused = stage.knock(GATEWAY_TOKEN).await;
    assert!(refused.contains("401"), "{refused}");
    let hunt = stage.hunt();
    let found = &hunt.places()["password"];
    assert_eq!(
        found[..],
        [
            "policy memory",
            "supervisor descriptor memfd:gateway-password"
        ]
    );
    assert_eq!(stage.product.stop(), Some(0));
}
