//! A random process is killed every 50 to 500 milliseconds while twenty people write a thousand messages over Telegram:
//! every one is answered once. Where nobody can know whether a message was sent, the assistant says so and counts it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clawdbot_fakes::provider::Provider;
use clawdbot_fakes::telegram::Telegram;
use clawdbot_proto::v1::{GatewayStatus, GatewayStatusRequest};
use clawdbot_tests::kernel::Seen;
use clawdbot_tests::{Product, Scratch, Start};
use rustix::process::Signal;
use serde_json::json;

const TOKEN: &str = "4711:storm-test-token-of-nobody-0123456789";
const SENDERS: i64 = 20;
const MESSAGES: i64 = 50;
const SEED: u64 = 0x5eed_0f57_0a11_d0e5;
/// Far above what it takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(480);

/// xorshift: the same storm every time, as far as the machine plays along.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The supervisor's children now, with the names of their programs.
fn children(supervisor: Seen) -> Vec<(String, Seen)> {
    let path = format!("/proc/{0}/task/{0}/children", supervisor.0);
    let pids = std::fs::read_to_string(path).unwrap_or_default();
    let named = pids.split_whitespace().filter_map(|pid| {
        let pid = pid.parse().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some((name.trim().to_owned(), Seen(pid)))
    });
    named.collect()
}

/// Kills until it is told to stop; how many of each it was.
fn killer(supervisor: Seen, over: &AtomicBool) -> BTreeMap<String, u32> {
    let mut random = Random(SEED);
    let mut killed = BTreeMap::new();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50 + random.below(451)));
        let all = children(supervisor);
        if all.is_empty() {
            continue;
        }
        let (name, victim) = &all[usize::try_from(random.below(all.len() as u64)).unwrap()];
        victim.signal(Signal::KILL);
        *killed.entry(name.clone()).or_default() += 1;
    }
    killed
}

async fn status(product: &Product) -> Option<GatewayStatus> {
    let mut talk = product.talk();
    let reply = talk.client().status(GatewayStatusRequest {}).await;
    reply.ok().map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_thousand_messages_are_answered_once_while_processes_are_killed() {
    let provider = Provider::start().await.unwrap();
    let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    telegram.bot(TOKEN, |_| ());
    let scratch = Scratch::new();
    let configuration = json!({
        "agents": { "defaults": { "model": "echo/m", "maxConcurrent": 16 } },
        "models": { "providers": { "echo": {
            "baseUrl": format!("http://{}/v1", provider.address()), "api": "openai-completions",
        } } },
        "messages": { "queue": { "mode": "followup", "debounceMs": 0, "cap": 1000 }, "inbound": { "debounceMs": 0 } },
        "channels": { "telegram": {
            "apiRoot": format!("http://{}", telegram.address()), "dmPolicy": "open", "allowFrom": ["*"],
        } },
    });
    scratch.configure(&configuration.to_string());
    let product = Start::new()
        .variable("TELEGRAM_BOT_TOKEN", TOKEN)
        .up(&scratch);
    let supervisor = product.supervisor();

    let began = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let killing = tokio::task::spawn_blocking({
        let over = Arc::clone(&over);
        move || killer(supervisor, &over)
    });
    for number in 0..MESSAGES {
        for sender in 1..=SENDERS {
            telegram.bot(TOKEN, |bot| {
                let text = question(sender, number);
                bot.write("message", json!({ "chat": sender, "text": text }))
            });
        }
        // A new one from everybody ten times a second, so that they come in while processes die.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let wanted = usize::try_from(SENDERS * MESSAGES).unwrap();
    let mut last = None;
    loop {
        let fetched = telegram.bot(TOKEN, |bot| bot.pending()) == 0;
        let sent = telegram.bot(TOKEN, |bot| bot.sent.len());
        if fetched && let Some(status) = status(&product).await {
            let through = sent + usize::try_from(status.unknown).unwrap();
            let done = status.pending == 0 && status.undelivered == 0 && through >= wanted;
            last = Some((sent, status));
            if done {
                break;
            }
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{sent} of {wanted} were answered, {last:?}\n{}",
            product.log()
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    over.store(true, Ordering::Relaxed);
    let killed = killing.await.unwrap();
    let took = began.elapsed();
    let (_, status) = last.unwrap();

    let sent = telegram.bot(TOKEN, |bot| bot.sent.clone());
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for sender in 1..=SENDERS {
        let mut order = Vec::new();
        for number in 0..MESSAGES {
            let text = question(sender, number);
            let answers: Vec<usize> = (0..sent.len())
                .filter(|at| sent[*at].chat == sender && sent[*at].text.ends_with(&text))
                .collect();
            *times.entry(answers.len() as u64).or_default() += 1;
            order.extend(answers);
        }
        assert!(order.is_sorted(), "the answers to {sender} are in order");
    }
    for message in &sent {
        if !message.text.starts_with("You said: question ") {
            wrong.push(message.text.clone());
        }
    }
    let count = |answers: u64| times.get(&answers).copied().unwrap_or(0);
    let all: u32 = killed.values().sum();
    println!(
        "seed {SEED:#x}, {} s, {all} processes killed:",
        took.as_secs()
    );
    for (name, number) in &killed {
        println!("  {number:4}  {name}");
    }
    println!(
        "{wanted} messages: {} answered once, {} not seen in the chat, {} more than once",
        count(1),
        count(0),
        wanted as u32 - count(1) - count(0)
    );
    println!(
        "counted by the assistant: {} unknown, {} refused",
        status.unknown, status.rejected
    );

    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(times.keys().all(|answers| *answers <= 1), "{times:?}");
    assert!(count(0) <= status.unknown, "{times:?}, {status:?}");
    assert_eq!(status.rejected, 0);
    assert!(all > 20, "the storm took place");
    assert_eq!(product.stop(), Some(0));
}

fn question(sender: i64, number: i64) -> String {
    format!("question {number} of {sender}.")
}
