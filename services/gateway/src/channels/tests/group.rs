//! Several people in one chat: whose words an agent gets with whose handle, whatever comes in whatever order and whenever
//! the gateway ends.

use std::collections::BTreeSet;

use super::*;

/// Everybody calls himself the same, and one of them has no mark.
const PEOPLE: [&str; 4] = ["ann", "bob", "cyd", ""];

fn words(who: &str, number: usize, text: &str) -> v1::Inbound {
    v1::Inbound {
        sender_name: "Owner".into(),
        lane: "room".into(),
        ..inbound(&format!("e{number}"), &format!("handle-room_{who}"), text)
    }
}

/// The fake agent holds on to this text only as it is.
fn held(who: &str) -> v1::Inbound {
    v1::Inbound {
        sender_name: String::new(),
        ..words(who, 0, "hold")
    }
}

/// What stands between `<` and `>` in a text, as `bob 3`.
fn said_in(text: &str) -> Vec<&str> {
    let marks = text.split('<').skip(1);
    marks
        .filter_map(|rest| Some(rest.split_once('>')?.0))
        .collect()
}

fn who(said: &str) -> &str {
    said.split_once(' ').unwrap().0
}

/// Everything that an agent was given; none of it may have come with another one's handle.
fn checked(agent: &FakeAgent, when: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let runs = agent.runs.lock().unwrap();
    let whose = |handle: &str| handle.strip_prefix("handle-room_").unwrap().to_owned();
    for run in &*runs {
        let said = said_in(&run.text);
        for said in &said {
            assert_eq!(who(said), whose(&run.handle), "{when}: {}", run.text);
            all.insert((*said).to_owned());
        }
        assert!(said.len() <= 1 || !whose(&run.handle).is_empty(), "{when}");
    }
    for steer in &*agent.steers.lock().unwrap() {
        let into = runs.iter().find(|run| run.turn_id == steer.turn_id);
        for said in said_in(&steer.text) {
            let whose = whose(&into.unwrap().handle);
            assert_eq!(who(said), whose, "{when}: {}", steer.text);
            assert!(!whose.is_empty(), "{when}");
            all.insert(said.to_owned());
        }
    }
    all
}

/// Lets the held turn go on, and waits until what came is answered.
async fn finish(world: &World) {
    let mut orders = attach(world).await;
    let last = words("last", 99, "<last 99>");
    assert_eq!(deliver(world, vec![last]).await.0, [Accepted]);
    world.guest.asked_times(1).await;
    world.guest.released.send_replace(true);
    while !sent(world, &mut orders).await.contains("<last 99>") {}
}

#[tokio::test]
async fn nobodys_words_ever_come_with_anothers_handle() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let modes = ["collect", "steer", "steer-backlog", "followup", "interrupt"];
    let mut together = 0;
    for walk in 0..20 {
        let mode = modes[walk % modes.len()];
        let when = format!("walk {walk}, {mode}");
        let dir = tempfile::tempdir().unwrap();
        let mut guests = Vec::new();
        let mut expected = BTreeSet::from(["last 99".to_owned()]);
        let copy;
        {
            let world = world(dir.path(), mode).await;
            let mut one = PEOPLE[below(4)];
            assert_eq!(deliver(&world, vec![held(one)]).await.0, [Accepted]);
            world.guest.asked_times(1).await;
            for number in 1..3 + below(7) {
                if below(2) == 0 {
                    one = PEOPLE[below(4)];
                }
                let message = words(one, number, &format!("<{one} {number}>"));
                assert_eq!(deliver(&world, vec![message]).await.0, [Accepted]);
                expected.insert(format!("{one} {number}"));
            }
            copy = crash(dir.path());
            if walk % 2 == 0 {
                finish(&world).await;
            }
            guests.push(Arc::clone(&world.guest));
        }
        if walk % 2 == 1 {
            let world = world(copy.path(), mode).await;
            finish(&world).await;
            guests.push(Arc::clone(&world.guest));
        }
        let mut given = BTreeSet::new();
        for guest in guests {
            given.append(&mut checked(&guest, &when));
            let runs = guest.runs.lock().unwrap();
            let many = runs.iter().filter(|run| said_in(&run.text).len() > 1);
            together += many.count() + guest.steers.lock().unwrap().len();
        }
        assert_eq!(given, expected, "{when}: nothing is lost");
    }
    assert!(together > 3, "what one person says still comes together");
}
