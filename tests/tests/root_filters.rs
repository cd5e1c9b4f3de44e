//! The filters that the kernel holds for every process are those that its profile says, instruction by instruction, and no
//! process has another one.
#![cfg(target_os = "linux")]

use clawdbot_confine::profile::{Mode, Profile, Value};
use clawdbot_confine::{profile, seccomp};
use clawdbot_fakes::telegram::Telegram;
use clawdbot_simulate::filters::{Instruction, of_process};
use clawdbot_tests::{Scratch, Start, runs_as_root};
use serde_json::json;

/// The programs of a profile for the process of this number, in the order in which they are applied.
fn compiled(profile: &Profile, pid: u32) -> Vec<Vec<Instruction>> {
    let own = std::process::id();
    let mut constants = profile.rows(Mode::Single).flat_map(|row| row.conditions);
    let same = |value: Value| matches!(value, Value::Number(number) if number & 0xffff_ffff == u64::from(own));
    assert!(
        !constants.any(|condition| same(condition.value)),
        "a constant that looks like this process"
    );
    let programs = seccomp::compile(profile, Mode::Single).unwrap();
    let made = programs.programs().iter().map(|program| {
        let steps = program.iter().map(|step| Instruction {
            code: step.code,
            jt: step.jt,
            jf: step.jf,
            // It was compiled for this process.
            k: if step.k == own { pid } else { step.k },
        });
        steps.collect()
    });
    made.collect()
}

#[tokio::test]
async fn the_kernel_holds_exactly_the_filters_of_the_profiles() {
    assert!(runs_as_root(), "these tests are root's");
    let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let token = "4711:filters-test-token-of-nobody-0123456789";
    telegram.bot(token, |_| ());
    let scratch = Scratch::passable();
    scratch.configure(&json!({ "channels": { "telegram": { "apiRoot": format!("http://{}", telegram.address()) } } }).to_string());
    scratch.give_to_nobody();
    let start = Start::new().argument("--user").argument("nobody");
    let product = start.variable("TELEGRAM_BOT_TOKEN", token).up(&scratch);
    let mut compared = 0;
    for (role, seen) in product.processes() {
        let held = of_process(i32::try_from(seen.0).unwrap()).unwrap();
        if role == "supervisor" {
            assert!(
                held.is_empty(),
                "a filter of the supervisor would be every tool's"
            );
            continue;
        }
        let profile = profile(&role).unwrap_or_else(|| panic!("no profile of {role}"));
        let expected = compiled(profile, seen.0);
        assert_eq!(held.len(), expected.len(), "{role}: programs");
        for (number, (held, expected)) in held.iter().zip(&expected).enumerate() {
            assert!(
                held == expected,
                "{role}: program {number} of the kernel is another one"
            );
        }
        compared += held.iter().map(Vec::len).sum::<usize>();
        // The control: the filters of another profile are not these.
        let other = if role == "executor" {
            "gateway"
        } else {
            "executor"
        };
        let other = clawdbot_confine::profile(other).unwrap();
        assert!(
            held != compiled(other, seen.0),
            "{role} and {} have one filter",
            other.name
        );
        let beside = compiled(profile, seen.0 + 1);
        assert!(
            held != beside,
            "{role}: its own number is part of its filter"
        );
    }
    assert!(compared > 4_000, "{compared} instructions");
    println!("{compared} instructions are as the profiles say");
    assert_eq!(product.stop(), Some(0));
}
