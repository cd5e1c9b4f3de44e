//! What the product is for, on a machine on which it was installed by apt and set up by the commands of the guides: a person
//! writes to a bot in Telegram, and a real model on this machine answers. Telegram is played; its server and the model are
//! in the machine's network, at addresses that the configuration names.

use std::collections::BTreeSet;
use std::time::Duration;

use clawdbot_fakes::telegram::Telegram;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::peers::{Peers, Server, script};
use clawdbot_tests::rig::{Machine, on_each_installed, package};
use clawdbot_tests::{Output, Scratch};
use serde_json::{Value, json};

const TOKEN: &str = "4714:rig-test-token-of-nobody-0123456789abc";
const OWNER: i64 = 1001;
const FRIEND: i64 = 2002;
const STRANGER: i64 = 3003;
const TELEGRAM: u16 = 8081;
const OLLAMA: u16 = 11434;
/// The name that the server gives to its model.
const MODEL: &str = "ollama/smollm2:135m";
/// A real model thinks on one processor, and a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(240);

/// A machine that was set up as the guides say, and those around it.
struct Town<'a> {
    machine: &'a Machine,
    telegram: Telegram,
    model: Server,
    _scratch: Scratch,
}

impl<'a> Town<'a> {
    fn set_up(machine: &'a Machine, peers: &Peers) -> Self {
        let scratch = Scratch::new();
        let mut command = peers.python(&scratch);
        command
            .arg(script("peers/model_server.py"))
            .arg("8080")
            .arg(peers.weights())
            .arg(OLLAMA.to_string());
        let model = machine.network(|| Server::start(&mut command, OLLAMA));
        let address = ([127, 0, 0, 1], TELEGRAM).into();
        let telegram = machine.network(|| Telegram::beside(address)).unwrap();
        telegram.bot(TOKEN, |_| ());
        let town = Self {
            machine,
            telegram,
            model,
            _scratch: scratch,
        };
        machine
            .sh("useradd --create-home alice && usermod -aG clawdbot alice")
            .ok();
        let root = format!("http://127.0.0.1:{TELEGRAM}");
        let owner = format!("[{OWNER}]");
        let short = json!({ MODEL: { "params": { "maxTokens": 24 } } }).to_string();
        for (key, value) in [
            ("agents.defaults.model", MODEL),
            ("agents.defaults.models", &short),
            ("channels.telegram.apiRoot", &root),
            ("channels.telegram.allowFrom", &owner),
        ] {
            machine.run(&["clawdbot", "config", "set", key, value]).ok();
        }
        // What was set is in force when the command ends.
        let mut stored = town.log_in();
        // Whoever tries the token has some seconds for it, which may be too few on a busy machine: then it is tried again.
        eventually(PATIENCE, || {
            let tried = !stored.stdout.contains("it could not be tried");
            if !tried {
                stored = town.log_in();
            }
            tried
        });
        let works = stored.code == Some(0) && stored.stdout.contains("it works");
        assert!(works, "{stored:?}\n{}", town.log());
        // Telegram lets a bot write to those alone who wrote to it.
        town.write(OWNER, "/whoami");
        let told = town.wait(OWNER, 1);
        assert!(told[0].contains("You are the owner"), "{told:?}");
        town
    }

    /// `clawdbot login`, with the token from a pipe, where it is never an argument.
    fn log_in(&self) -> Output {
        let words = ["clawdbot", "login", "--channel", "telegram"];
        self.machine
            .as_user_told("alice", &words, &format!("{TOKEN}\n"))
    }

    /// A command of the person who runs the assistant.
    #[track_caller]
    fn alice(&self, words: &[&str]) -> Output {
        self.machine.as_user("alice", words)
    }

    /// What a person would look at when something is wrong.
    fn log(&self) -> String {
        self.machine.says("clawdbot logs --limit 100")
    }

    fn write(&self, who: i64, text: &str) {
        self.telegram.bot(TOKEN, |bot| {
            bot.write("message", json!({ "chat": who, "text": text }))
        });
    }

    /// What the bot has sent to somebody, oldest first.
    fn told(&self, who: i64) -> Vec<String> {
        self.telegram.bot(TOKEN, |bot| {
            let sent = bot.sent.iter().filter(|sent| sent.chat == who);
            sent.map(|sent| sent.text.clone()).collect()
        })
    }

    /// Waits until somebody has been told this many things.
    #[track_caller]
    fn wait(&self, who: i64, count: usize) -> Vec<String> {
        let told = eventually(PATIENCE, || self.told(who).len() >= count);
        assert!(told, "{:?}\n{}", self.told(who), self.log());
        self.told(who)
    }

    /// Somebody whom nobody knows writes and is given a code.
    #[track_caller]
    fn code(&self, who: i64, text: &str) -> String {
        self.write(who, text);
        let told = self.wait(who, 1);
        let code = told[0].split("pairing approve telegram ").nth(1);
        let code = code.and_then(|rest| rest.split_whitespace().next());
        code.unwrap_or_else(|| panic!("{told:?}")).to_owned()
    }

    /// Lets somebody in who was a stranger. Without `--notify` he is not told, so that what comes next is an answer.
    #[track_caller]
    fn befriend(&self, who: i64) {
        let code = self.code(who, "may I come in?");
        self.alice(&["clawdbot", "pairing", "approve", "telegram", &code])
            .ok();
    }

    /// Asks and waits for the answer.
    #[track_caller]
    fn ask(&self, who: i64, text: &str) -> String {
        let before = self.told(who).len();
        self.write(who, text);
        let answer = self.wait(who, before + 1).pop().unwrap();
        assert!(answer.len() > 3, "{answer:?}");
        answer
    }

    /// The conversations of this person with the assistant.
    fn sessions(&self, who: i64) -> Vec<Value> {
        let listed = self.alice(&["clawdbot", "sessions", "--json"]).ok().json();
        let all = listed["sessions"].as_array().unwrap();
        let of = |session: &&Value| {
            let key = session["sessionKey"].as_str().unwrap();
            key.contains(&who.to_string())
        };
        all.iter().filter(of).cloned().collect()
    }
}

/// Words that nothing but these messages contains.
const QUESTIONS: [&str; 3] = [
    "Say hello to my parrot Zanzibar.",
    "And what would Zanzibar say to the crocodile?",
    "Shall we invite the crocodile for Tuesday?",
];
const SECRETS: [&str; 4] = ["Zanzibar", "crocodile", "parrot", "token-of-nobody"];

fn no_secret(place: &str, text: &str) {
    for secret in SECRETS {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{place}");
    }
}

/// One conversation of a guest with the real model, as it is told to somebody who looks.
#[track_caller]
fn only_session(town: &Town<'_>, who: i64) -> Value {
    let sessions = town.sessions(who);
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let session = sessions[0].clone();
    assert_eq!(
        (&session["class"], &session["model"]),
        (&json!("guest"), &json!(MODEL)),
        "{session}"
    );
    session
}

#[test]
fn a_message_in_telegram_is_answered_by_a_real_model_of_this_machine() {
    const TEST: &str = "a_message_in_telegram_is_answered";
    let Some(peers) = Peers::find(TEST) else {
        return;
    };
    on_each_installed(TEST, |machine| {
        let town = Town::set_up(machine, &peers);
        town.befriend(FRIEND);
        town.ask(FRIEND, QUESTIONS[0]);
        let session = only_session(&town, FRIEND);

        // A stranger gets a code, and the owner is told of it; nobody answers him.
        let code = town.code(STRANGER, "who are you?");
        town.write(STRANGER, "what can you do?");
        let notices = || town.told(OWNER);
        let noticed = || notices().iter().any(|notice| notice.contains(&code));
        assert!(eventually(PATIENCE, noticed), "{:?}", notices());

        // The conversation goes on.
        town.ask(FRIEND, QUESTIONS[1]);
        let later = only_session(&town, FRIEND);
        assert_eq!(later["sessionId"], session["sessionId"]);
        let tokens = |session: &Value| session["inputTokens"].as_u64().unwrap();
        assert!(tokens(&later) > tokens(&session), "{session} {later}");
        assert_eq!(town.told(STRANGER).len(), 1, "{:?}", town.told(STRANGER));
        assert_eq!(town.sessions(STRANGER), Vec::<Value>::new());

        looks_well(&town);
        leaves_a_trace(&town);
    });
}

/// What a person sees who asks how it is.
fn looks_well(town: &Town<'_>) {
    let unit = town
        .alice(&["systemctl", "status", "clawdbot-channel@telegram"])
        .ok();
    assert!(unit.stdout.contains("active (running)"), "{unit:?}");
    assert!(unit.stdout.contains("level=full"), "{unit:?}");

    // A machine with much to do is asked again: its service manager may answer late.
    let mut status = town.alice(&["clawdbot", "status"]);
    let well = eventually(PATIENCE, || {
        let lines = ["ollama (ready)", "telegram (ready)", MODEL];
        let has_all = lines.iter().all(|line| status.stdout.contains(line));
        let well = status.code == Some(0) && has_all && !status.stdout.contains("problem:");
        if !well {
            status = town.alice(&["clawdbot", "status"]);
        }
        well
    });
    assert!(well, "{status:?}");

    // What is critical is the size of the model alone; the remedy that is told for it is one.
    let (code, doctor) = examined(town);
    let critical = |finding: &&Value| finding["severity"] == "critical";
    let findings = doctor["findings"].as_array().unwrap();
    let critical: Vec<&Value> = findings.iter().filter(critical).collect();
    assert!(!critical.is_empty() && code == Some(2), "{doctor:#}");
    for finding in &critical {
        assert_eq!(finding["id"], "models.small_params", "{finding:#}");
    }
    town.machine
        .sh(critical[0]["remedy"].as_str().unwrap())
        .ok();
    let (code, doctor) = examined(town);
    assert_eq!(
        (code, &doctor["counts"]["critical"]),
        (Some(0), &json!(0)),
        "{doctor:#}"
    );
    let findings = doctor["findings"].as_array().unwrap();
    let details = |id: &str| -> Vec<&str> {
        let found = findings.iter().filter(|finding| finding["id"] == id);
        found
            .filter_map(|finding| finding["detail"].as_str())
            .collect()
    };
    for worker in ["channel-telegram", "model-ollama"] {
        let works = details("probe.works");
        let works = works.iter().any(|detail| detail.starts_with(worker));
        assert!(works, "{worker}: {doctor:#}");
    }
    for trouble in [
        "probe.silent",
        "gateway.probe_failed",
        "config.secrets.backup",
    ] {
        assert_eq!(details(trouble), Vec::<&str>::new(), "{trouble}");
    }
}

/// What `clawdbotctl doctor --deep` finds, with its exit status.
fn examined(town: &Town<'_>) -> (Option<i32>, Value) {
    let found = town
        .machine
        .run(&["clawdbotctl", "doctor", "--deep", "--json"]);
    (found.code, found.json())
}

/// The last message's way in the log, from the channel to the model, and not a word of what was said.
fn leaves_a_trace(town: &Town<'_>) {
    let logs = ["clawdbot", "logs", "--json", "--limit", "10000"];
    let logs = town.machine.run(&logs).ok().stdout;
    let lines: Vec<Value> = logs
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let role = |line: &Value| line["role"].as_str().unwrap_or_default().to_owned();
    let came = lines
        .iter()
        .rfind(|line| role(line) == "channel-telegram" && line["trace"].is_string());
    let trace = &came.unwrap()["trace"];
    let way: BTreeSet<String> = lines
        .iter()
        .filter(|line| line["trace"] == *trace)
        .map(role)
        .collect();
    let wanted = ["agent-guest", "channel-telegram", "gateway", "model-ollama"];
    assert_eq!(way, wanted.map(String::from).into(), "{logs}");
    no_secret("the log", &logs);
}

#[test]
fn a_message_during_a_reinstallation_is_answered_once_in_the_same_session() {
    const TEST: &str = "a_message_during_a_reinstallation";
    let (Some(peers), Some(deb)) = (Peers::find(TEST), package(TEST)) else {
        return;
    };
    let deb = format!("/root/{}", deb.file_name().unwrap().to_str().unwrap());
    on_each_installed(TEST, |machine| {
        let town = Town::set_up(machine, &peers);
        // With everything in the log that can be there.
        machine
            .run(&["clawdbot", "config", "set", "logging.level", "trace"])
            .ok();
        town.befriend(FRIEND);
        town.ask(FRIEND, QUESTIONS[0]);
        let session = only_session(&town, FRIEND);

        let before = town.told(FRIEND).len();
        let policy = machine.process("clawdbot-policy.service");
        std::thread::scope(|scope| {
            let reinstall = ["apt-get", "install", "--reinstall", "--yes", &deb];
            let apt = scope.spawn(move || machine.run(&reinstall));
            let restarts = || machine.process("clawdbot-policy.service") != policy;
            assert!(eventually(PATIENCE, || apt.is_finished() || restarts()));
            town.write(FRIEND, QUESTIONS[1]);
            apt.join().unwrap().ok();
        });
        machine.ready();
        town.wait(FRIEND, before + 1);
        town.ask(FRIEND, QUESTIONS[2]);
        assert_eq!(
            town.told(FRIEND).len(),
            before + 2,
            "{:?}",
            town.told(FRIEND)
        );

        let later = only_session(&town, FRIEND);
        assert_eq!(later["sessionId"], session["sessionId"]);
        let transcript = later["sessionId"].as_str().unwrap();
        let transcript = format!("/var/lib/clawdbot/sessions/guest/{transcript}.jsonl");
        let transcript = machine.says(&format!("cat {transcript}"));
        for question in QUESTIONS {
            assert_eq!(transcript.matches(question).count(), 1, "{transcript}");
        }
        no_secret(
            "the journal",
            &machine.says("journalctl --all --output=json"),
        );
    });
}

/// Workers of the platform and of the model.
const CHANNEL: &str = "clawdbot-channel@telegram.service";
const WORKER: &str = "clawdbot-model@ollama.service";

#[test]
fn a_message_whose_worker_is_killed_on_the_way_is_answered_once() {
    const TEST: &str = "a_message_whose_worker_is_killed";
    let Some(peers) = Peers::find(TEST) else {
        return;
    };
    on_each_installed(TEST, |machine| {
        let town = Town::set_up(machine, &peers);
        town.befriend(FRIEND);
        town.ask(FRIEND, QUESTIONS[0]);
        let session = only_session(&town, FRIEND);
        let before = town.told(FRIEND).len();
        let mut asked = vec![QUESTIONS[0].to_owned()];
        let mut kill = |unit: &str, moment: &dyn Fn()| {
            let question = format!("Question {} of the crocodile?", asked.len());
            // Nothing is answered before the model goes on.
            town.model.pause();
            town.write(FRIEND, &question);
            moment();
            machine.kill(unit);
            town.model.go_on();
            asked.push(question);
            town.wait(FRIEND, before + asked.len() - 1);
        };
        let model_is_asked = || {
            machine.until(&format!(
                "ss --no-header --tcp --numeric state established 'sport = :{OLLAMA}' | awk '$1 > 0 {{ found = 1 }} END {{ exit !found }}'"
            ));
        };
        kill(WORKER, &model_is_asked);
        kill(CHANNEL, &model_is_asked);
        // As soon as Telegram has handed the message out.
        let seen = || town.telegram.bot(TOKEN, |bot| bot.handed_out);
        let known = seen();
        kill(CHANNEL, &|| {
            assert!(eventually(PATIENCE, || seen() > known), "{}", town.log());
        });

        // One more, whose answer comes after all that could still come.
        town.ask(FRIEND, QUESTIONS[1]);
        asked.push(QUESTIONS[1].to_owned());
        let told = town.told(FRIEND);
        assert_eq!(told.len(), before + asked.len() - 1, "{told:?}");
        let later = only_session(&town, FRIEND);
        assert_eq!(later["sessionId"], session["sessionId"]);
        let transcript = later["sessionId"].as_str().unwrap();
        let transcript = machine.says(&format!(
            "cat /var/lib/clawdbot/sessions/guest/{transcript}.jsonl"
        ));
        for question in &asked {
            assert_eq!(transcript.matches(question).count(), 1, "{transcript}");
        }
    });
}
