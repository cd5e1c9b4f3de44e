//! What a turn costs on its way through all processes: the same questions go to a model provider directly and through
//! `/v1/chat/completions`, in the same run. Once with the state on a disk, once in memory, where an fsync costs nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clawdbot_fakes::provider::{Pace, Provider};
use clawdbot_fakes::telegram::Telegram;
use tokio::task::JoinSet;

use crate::client::{Client, Target};
use crate::figures::{self, Goal, Table};
use crate::idle;
use crate::product::{Home, Running};
use crate::runtime;

const TOKEN: &str = "bench-0123456789abcdef0123456789abcdef";
const MODEL: &str = "mock/bench";
const BOT: &str = "4711:bench-token-of-nobody-0123456789";
/// Words of each answer.
const WORDS: usize = 20;
const WIDE: usize = 64;
/// Memory file systems.
const IN_MEMORY: &str = "/dev/shm";

/// How often each thing is done.
pub struct Amounts {
    pub turns: usize,
    pub history: usize,
    pub wide: usize,
    pub growth: usize,
}

/// The provider, in a thread of its own.
struct Mock {
    address: SocketAddr,
    pace: mpsc::Sender<Pace>,
    open: mpsc::Receiver<u64>,
}

fn mock() -> Mock {
    let (send, receive) = mpsc::channel();
    let (pace, paces) = mpsc::channel::<Pace>();
    let (opened, open) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = runtime();
        runtime.block_on(async {
            let provider = Provider::start().await.unwrap();
            provider.bench(WORDS);
            send.send(provider.address()).unwrap();
            let mut requests = provider.requests();
            loop {
                while let Ok(pace) = paces.try_recv() {
                    provider.pace(pace);
                }
                tokio::select! {
                    changed = requests.changed() => if changed.is_ok() {
                        let _nobody_counts = opened.send(*requests.borrow_and_update());
                    },
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        });
    });
    Mock {
        address: receive.recv().unwrap(),
        pace,
        open,
    }
}

fn configuration(provider: SocketAddr) -> String {
    format!(
        r#"{{
  gateway: {{ auth: {{ token: "{TOKEN}" }}, http: {{ endpoints: {{ chatCompletions: {{ enabled: true }} }} }} }},
  agents: {{ defaults: {{ model: "{MODEL}", maxConcurrent: {WIDE} }} }},
  models: {{ providers: {{ mock: {{ baseUrl: "http://{provider}/v1", api: "openai-completions" }} }} }},
}}"#
    )
}

/// A Telegram that nobody writes to, in a thread of its own.
pub struct Quiet {
    polled: mpsc::Receiver<()>,
}

impl Quiet {
    /// Until the bot polls.
    pub fn wait_for_poll(&self) {
        self.polled.recv().unwrap();
    }
}

/// A home with a bot and a model of a provider that is there.
pub fn with_telegram(user: Option<u32>) -> (Home, Quiet) {
    let mock = mock();
    let (send, address) = mpsc::channel();
    let (poll, polled) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
            telegram.bot(BOT, |_| ());
            send.send(telegram.address()).unwrap();
            telegram
                .until(BOT, |bot| bot.calls.iter().any(|call| call == "getUpdates"))
                .await;
            poll.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let telegram = address.recv().unwrap();
    let configuration = format!(
        r#"{{
  agents: {{ defaults: {{ model: "{MODEL}" }} }},
  models: {{ providers: {{ mock: {{ baseUrl: "http://{}/v1", api: "openai-completions" }} }} }},
  channels: {{ telegram: {{ botToken: "{BOT}", apiRoot: "http://{telegram}" }} }},
}}"#,
        mock.address
    );
    (
        Home::configured(user, None, &configuration),
        Quiet { polled },
    )
}

/// Adds the rows.
pub fn measure(table: &mut Table, amounts: &Amounts, user: Option<u32>) {
    let mock = mock();
    let direct = Target {
        address: mock.address,
        token: TOKEN.into(),
    };
    for place in [Some(Path::new(IN_MEMORY)), None] {
        if place.is_some_and(|place| !place.is_dir()) {
            continue;
        }
        let label = place.map_or("state on disk", |_| "state in memory");
        eprintln!("turns, {label} …");
        let home = Home::configured(user, place, &configuration(mock.address));
        let running = home.up();
        let product = Target {
            address: home.address(),
            token: TOKEN.into(),
        };
        single(table, label, &direct, &product, amounts);
        wide(table, label, &direct, &product, &running, amounts);
        if place.is_some() {
            history(table, &direct, &product, amounts);
            together(table, &mock, &product);
            growth(table, &product, &running, amounts);
        }
        running.stop();
    }
}

/// Adds the rows of one turn after another with the state in memory, and no others.
pub fn alone(table: &mut Table, amounts: &Amounts, user: Option<u32>) {
    let mock = mock();
    let direct = Target {
        address: mock.address,
        token: TOKEN.into(),
    };
    let home = Home::configured(
        user,
        Some(Path::new(IN_MEMORY)),
        &configuration(mock.address),
    );
    let running = home.up();
    let product = Target {
        address: home.address(),
        token: TOKEN.into(),
    };
    let before = idle::processor(&running.processes);
    single(table, "state in memory", &direct, &product, amounts);
    let used = idle::processor(&running.processes).saturating_sub(before);
    table.text(
        "processor time of a turn alone, all processes",
        "",
        figures::time(used / u32::try_from(amounts.turns + 10).unwrap_or(u32::MAX)),
        amounts.turns,
    );
    history(table, &direct, &product, amounts);
    running.stop();
}

/// One question after another, to the provider and to the product in turn.
fn single(table: &mut Table, label: &str, direct: &Target, product: &Target, amounts: &Amounts) {
    let (mut bare, mut through) = (Series::default(), Series::default());
    runtime().block_on(async {
        let mut to_mock = Client::connect(direct).await.unwrap();
        let mut to_product = Client::connect(product).await.unwrap();
        for turn in 0..amounts.turns + 10 {
            let kept = turn >= 10;
            let one = to_mock.ask("bench", "hello", None).await.unwrap();
            bare.add(&one, kept);
            let one = to_product.ask("clawdbot", "hello", None).await.unwrap();
            through.add(&one, kept);
        }
    });
    let in_memory = label.ends_with("memory");
    let goal = |micros| in_memory.then(|| Goal::Time(Duration::from_micros(micros)));
    bare.sort();
    through.sort();
    table.times(
        &format!("turn, provider alone ({label})"),
        &mut bare.whole,
        None,
    );
    table.times(
        &format!("turn, through Clawdbot ({label})"),
        &mut through.whole,
        None,
    );
    table.added("added to a turn", &through.whole, &bare.whole, goal(1500));
    table.added(
        "added to the first word",
        &through.first,
        &bare.first,
        goal(1000),
    );
}

#[derive(Default)]
struct Series {
    first: Vec<Duration>,
    whole: Vec<Duration>,
}

impl Series {
    fn add(&mut self, took: &crate::client::Took, kept: bool) {
        if kept {
            self.first.push(took.first);
            self.whole.push(took.whole);
        }
    }

    fn sort(&mut self) {
        self.first.sort_unstable();
        self.whole.sort_unstable();
    }
}

/// Many conversations at once: turns a second, and what the processor did for one.
fn wide(
    table: &mut Table,
    label: &str,
    direct: &Target,
    product: &Target,
    running: &Running,
    amounts: &Amounts,
) {
    let (bare, _) = runtime().block_on(many(direct, "bench", amounts.wide));
    let before = idle::processor(&running.processes);
    let (through, failed) = runtime().block_on(many(product, "clawdbot", amounts.wide));
    let used = idle::processor(&running.processes).saturating_sub(before);
    #[allow(clippy::cast_precision_loss)] // Some thousands.
    let rate = |took: Duration| amounts.wide as f64 / took.as_secs_f64();
    table.text(
        &format!("{WIDE} at once, provider alone ({label})"),
        "",
        format!("{:.0} turns/s", rate(bare)),
        amounts.wide,
    );
    let goal = if rate(through) >= 1000.0 {
        "met"
    } else {
        "missed"
    };
    table.text(
        &format!("{WIDE} at once, through Clawdbot ({label})"),
        &format!("≥ 1000 turns/s, {goal}"),
        format!("{:.0} turns/s, {failed} failed", rate(through)),
        amounts.wide,
    );
    table.text(
        &format!("processor time of a turn, all processes ({label})"),
        "",
        figures::time(used / u32::try_from(amounts.wide).unwrap_or(u32::MAX)),
        amounts.wide,
    );
}

async fn many(target: &Target, model: &'static str, turns: usize) -> (Duration, usize) {
    let mut clients = Vec::new();
    for _ in 0..WIDE {
        let mut client = Client::connect(target).await.unwrap();
        client.ask(model, "hello", None).await.unwrap();
        clients.push(client);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move {
            let mut failed = 0;
            for _ in 0..turns / WIDE {
                if let Err(error) = client.ask(model, "hello", None).await {
                    eprintln!("{error}");
                    failed += 1;
                }
            }
            failed
        });
    }
    let failed = tasks.join_all().await.into_iter().sum();
    (began.elapsed(), failed)
}

/// One conversation that grows, and the provider alone with as many messages.
fn history(table: &mut Table, direct: &Target, product: &Target, amounts: &Amounts) {
    let mut took = Vec::with_capacity(amounts.history);
    runtime().block_on(async {
        let mut client = Client::connect(product).await.unwrap();
        for _ in 0..amounts.history {
            let one = client.ask("clawdbot", "hello", Some("long")).await;
            took.push(one.unwrap().whole);
        }
    });
    // A turn adds two messages.
    let part = |end: usize| {
        let end = end.min(took.len());
        took[end.saturating_sub(25)..end].to_vec()
    };
    let (mut early, mut late) = (part(30), part(took.len()));
    let long = 2 * amounts.history;
    let (mut short_alone, mut long_alone) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        let mut client = Client::connect(direct).await.unwrap();
        for _ in 0..25 {
            short_alone.push(client.ask_after("bench", 35).await.unwrap().whole);
            long_alone.push(client.ask_after("bench", long).await.unwrap().whole);
        }
    });
    table.times("turn with 10 to 60 messages of history", &mut early, None);
    table.times("the same, provider alone", &mut short_alone, None);
    table.times(
        &format!("turn with {long} messages of history"),
        &mut late,
        None,
    );
    table.times("the same, provider alone", &mut long_alone, None);
    table.added("added with a short history", &early, &short_alone, None);
    table.added("added with a long history", &late, &long_alone, None);
}

/// Sixteen questions to a provider that takes its time: how many it has before it answers the first.
fn together(table: &mut Table, mock: &Mock, product: &Target) {
    let pause = Duration::from_millis(400);
    mock.pace
        .send(Pace {
            first: pause,
            gap: Duration::ZERO,
        })
        .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let before = mock.open.try_iter().last().unwrap_or(0);
    let began = Instant::now();
    runtime().block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let product = product.clone();
            tasks.spawn(async move {
                let mut client = Client::connect(&product).await.unwrap();
                client.ask("clawdbot", "hello", None).await.unwrap();
            });
        }
        tasks.join_all().await;
    });
    let took = began.elapsed();
    let asked = mock.open.try_iter().last().unwrap_or(0) - before;
    mock.pace.send(Pace::default()).unwrap();
    let met = took < 2 * pause && asked == 16;
    table.text(
        "16 at once, provider answers after 400 ms",
        if met {
            "together, met"
        } else {
            "together, missed"
        },
        figures::time(took),
        16,
    );
    std::thread::sleep(Duration::from_millis(50));
}

/// Memory before and after many turns.
fn growth(table: &mut Table, product: &Target, running: &Running, amounts: &Amounts) {
    let before = idle::watch(&running.processes, Duration::ZERO);
    let (_, failed) = runtime().block_on(many(product, "clawdbot", amounts.growth));
    std::thread::sleep(Duration::from_millis(500));
    let after = idle::watch(&running.processes, Duration::ZERO);
    table.text(
        &format!("{} of all processes before and after", after.measure()),
        "",
        format!(
            "{} → {}, {failed} failed",
            figures::memory(before.total()),
            figures::memory(after.total())
        ),
        amounts.growth,
    );
    eprintln!("{}", after.table());
}
