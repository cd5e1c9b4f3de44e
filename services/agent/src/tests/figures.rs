//! What a turn costs, measured by hand: `cargo test -p clawdbot-agent figures -- --ignored --nocapture`. Policy, model and
//! executor are played in the same thread, so the figures include them.

use std::time::{Duration, Instant};

use super::rig::{Rig, answer};

fn percentile(times: &mut [Duration], part: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * part / 100]
}

#[tokio::test]
#[ignore = "prints figures and judges nothing"]
async fn figures() {
    let mut rig = Rig::new().await;
    rig.answers_by_itself("an answer");
    let agent = rig.start().await;
    let mut times = Vec::new();
    for n in 0..500 {
        let began = Instant::now();
        answer(agent.run(&format!("a{n}"), "main_long", "question").await).await;
        times.push(began.elapsed());
    }
    for (name, range) in [("10 messages", 5..55), ("1,000 messages", 450..500)] {
        let times = &mut times[range];
        println!(
            "one after the other, {name}: p50 {:?}, p99 {:?}",
            percentile(times, 50),
            percentile(times, 99)
        );
    }
    let began = Instant::now();
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..64 {
        let agent = agent.clone();
        lanes.spawn(async move {
            for n in 0..50 {
                let (turn, handle) = (format!("b{lane}-{n}"), format!("main_s{lane}"));
                answer(agent.run(&turn, &handle, "question").await).await;
            }
        });
    }
    lanes.join_all().await;
    let took = began.elapsed();
    println!(
        "64 at once: {:.0} turns a second",
        3200.0 / took.as_secs_f64()
    );
    let began = Instant::now();
    agent.agent.sessions.finish().await;
    println!("all on disk {:?} later", began.elapsed());
}
