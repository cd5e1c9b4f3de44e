//! Pairing from the first message to the answer, over a Telegram that is played: who is told what, and that policy may be
//! killed at any moment of an approval.

use std::process::Stdio;
use std::time::Duration;

use clawdbot_fakes::telegram::Telegram;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::{Product, Scratch, Start};
use serde_json::{Value, json};

const TOKEN: &str = "4713:pairing-test-token-of-nobody-01234567";
const OWNER: i64 = 1001;
const STRANGER: i64 = 2002;
/// Far above what it takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Approvals during which policy is killed, each a little later.
const KILLS: i64 = 8;

struct Town {
    telegram: Telegram,
    scratch: Scratch,
}

impl Town {
    fn new() -> Self {
        let telegram = Telegram::beside(([127, 0, 0, 1], 0).into()).unwrap();
        telegram.bot(TOKEN, |_| ());
        let scratch = Scratch::new();
        let configuration = json!({ "channels": { "telegram": {
            "apiRoot": format!("http://{}", telegram.address()), "allowFrom": [OWNER],
        } } });
        scratch.configure(&configuration.to_string());
        Self { telegram, scratch }
    }

    fn up(&self) -> Product {
        Start::new()
            .variable("TELEGRAM_BOT_TOKEN", TOKEN)
            .up(&self.scratch)
    }

    /// What the bot has sent to somebody, oldest first.
    fn told(&self, who: i64) -> Vec<String> {
        self.telegram.bot(TOKEN, |bot| {
            let sent = bot.sent.iter().filter(|sent| sent.chat == who);
            sent.map(|sent| sent.text.clone()).collect()
        })
    }

    fn write(&self, who: i64, text: &str) {
        self.telegram.bot(TOKEN, |bot| {
            bot.write("message", json!({ "chat": who, "text": text }))
        });
    }

    /// The message to somebody that contains a text, once it is there.
    fn wait(&self, who: i64, part: &str) -> String {
        let found = || self.told(who).into_iter().find(|text| text.contains(part));
        assert!(
            eventually(PATIENCE, || found().is_some()),
            "{who} was not told {part:?}: {:?}",
            self.told(who)
        );
        found().unwrap()
    }

    /// Waits until everything that was written so far has been judged.
    fn heard(&self) {
        let heard = || self.telegram.bot(TOKEN, |bot| bot.pending()) == 0;
        assert!(eventually(PATIENCE, heard), "some updates are unconfirmed");
    }

    /// Somebody writes and gets a code.
    fn code(&self, who: i64) -> String {
        self.write(who, "let me in");
        let text = self.wait(who, "pairing approve telegram ");
        let code = text.split("pairing approve telegram ").nth(1).unwrap();
        code.split_whitespace().next().unwrap().to_owned()
    }

    fn list(&self) -> Value {
        let listed = self.scratch.clawdbot(&["pairing", "list", "--json"]);
        listed.ok().json()
    }

    /// Whether somebody waits, and whether he is approved.
    fn state(&self, who: i64) -> (bool, bool) {
        let (list, who) = (self.list(), who.to_string());
        let holds = |name: &str| {
            let rows = list[name].as_array().unwrap();
            rows.iter().any(|row| row["senderId"] == who)
        };
        (holds("pending"), holds("approved"))
    }
}

#[test]
fn the_owner_is_told_of_a_request_and_the_requester_of_the_approval() {
    let town = Town::new();
    let product = town.up();
    town.write(OWNER, "/whoami");
    town.wait(OWNER, "You are the owner");
    let code = town.code(STRANGER);
    let notice = town.wait(OWNER, &code);
    assert!(notice.contains(&STRANGER.to_string()), "{notice}");
    town.write(STRANGER, "are you there?");
    // Before he is let in; after it he would be answered.
    town.heard();
    let approve = [
        "pairing",
        "approve",
        &code,
        "--channel",
        "telegram",
        "--notify",
    ];
    town.scratch.clawdbot(&approve).ok();
    town.wait(STRANGER, "You have been let in");
    // A command that is not for him has no effect and no answer; the next one has.
    town.write(STRANGER, "/model x");
    town.write(STRANGER, "/whoami");
    town.wait(STRANGER, "an approved sender");
    town.write(OWNER, "/approve ABCD2345");
    town.wait(OWNER, "Nothing was changed");
    assert_eq!(town.told(STRANGER).len(), 3, "{:?}", town.told(STRANGER));
    let notices = town
        .told(OWNER)
        .into_iter()
        .filter(|text| text.contains(&code));
    assert_eq!(notices.count(), 1);
    let waiting = town.scratch.clawdbot(&["approvals", "list"]).ok();
    assert!(waiting.stdout.contains("no call waits"), "{waiting:?}");
    let refused = town.scratch.clawdbot(&["approvals", "approve", "ABCD2345"]);
    assert!(
        refused.stderr.contains("no call waits under this id"),
        "{refused:?}"
    );
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn policy_may_be_killed_at_any_moment_of_an_approval() {
    let town = Town::new();
    let mut product = town.up();
    let mut policy = product.process("policy");
    for round in 0..KILLS {
        let who = STRANGER + round;
        let code = town.code(who);
        let mut approve = town.scratch.program("clawdbot");
        approve.args(["pairing", "approve", "telegram", &code]);
        let mut approve = approve
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Not a wait: the moment of the kill.
        std::thread::sleep(Duration::from_millis(u64::try_from(round).unwrap() * 4));
        policy = product.kill("policy", policy);
        let said_so = approve.wait().unwrap().success();
        let (waits, approved) = town.state(who);
        assert!(waits != approved, "round {round}: {}", town.list());
        assert!(
            approved || !said_so,
            "round {round}: what was answered is lost"
        );
        if waits {
            let again = ["pairing", "approve", "telegram", &code];
            town.scratch.clawdbot(&again).ok();
        }
        assert_eq!(town.state(who), (false, true));
        town.write(who, "/whoami");
        town.wait(who, "an approved sender");
    }
    assert_eq!(product.stop(), Some(0));
}
