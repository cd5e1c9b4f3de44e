//! The broker is brought what the configuration says, after each change and after each of its own starts.

use clawdbot_service::testing::Link;

use super::*;
use crate::bench::{Bench, Broker, role};

const ONE: &str = "{models: {providers: {openai: {apiKey: 'sk-one'}}}}";

/// Waits until the broker has been brought `count` loads, and gives the last one.
async fn load_number(broker: &Broker, count: usize) -> LoadRequest {
    loop {
        if let Some(load) = broker.loads.lock().unwrap().get(count - 1) {
            return load.clone();
        }
        tokio::task::yield_now().await;
    }
}

/// Runs a body beside what never ends.
async fn beside(kept: impl Future<Output = Infallible>, body: impl Future<Output = ()>) {
    tokio::select! {
        never = kept => match never {},
        () = body => {}
    }
}

fn literal(load: &LoadRequest) -> &[u8] {
    match load.entries[0].source.as_ref().unwrap() {
        secret_entry::Source::Literal(bytes) => bytes,
        secret_entry::Source::Reference(_) => panic!("a literal was expected"),
    }
}

#[tokio::test]
async fn secrets_are_brought_at_once_after_a_change_and_after_a_restart_of_the_broker() {
    let bench = Bench::new(ONE).await;
    let link = Link::new(&role("policy"), &role("broker"));
    link.reconnect(bench.broker.router()).await.unwrap();
    let edge = link.edge();
    let kept = keep(
        "broker",
        bench.policy.in_force(),
        edge.generation(),
        async |current| to_broker(&edge, current).await,
    );
    beside(kept, async {
        let first = load_number(&bench.broker, 1).await;
        assert_eq!((first.revision, literal(&first)), (1, &b"sk-one"[..]));
        let whom = &first.audiences[0];
        assert_eq!(whom.role, "model-openai");
        assert!(whom.audience.contains("https://api.openai.com"));
        bench.write("{models: {providers: {openai: {apiKey: 'sk-two'}}}}");
        bench.load().await;
        let second = load_number(&bench.broker, 2).await;
        assert_eq!((second.revision, literal(&second)), (2, &b"sk-two"[..]));
        // What is on disk now is not in force, and the new broker must get what is.
        bench.write("{");
        bench.load().await;
        let fresh = Broker::default();
        link.reconnect(fresh.router()).await.unwrap();
        assert_eq!(literal(&load_number(&fresh, 1).await), b"sk-two");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_brought_before_there_is_a_configuration() {
    let bench = Bench::new("{").await;
    let edge = bench.broker.edge();
    let kept = keep(
        "broker",
        bench.policy.in_force(),
        edge.generation(),
        async |current| to_broker(&edge, current).await,
    );
    beside(kept, async {
        tokio::task::yield_now().await;
        bench.write(ONE);
        bench.load().await;
        assert_eq!(load_number(&bench.broker, 1).await.revision, 1);
        assert_eq!(bench.broker.loads.lock().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_is_tried_again() {
    let bench = Bench::new(ONE).await;
    let (done, mut tries) = tokio::sync::mpsc::unbounded_channel();
    let (_sender, started) = watch::channel(0);
    let count = std::cell::Cell::new(0);
    let kept = keep(
        "test",
        bench.policy.in_force(),
        started,
        async |current: &InForce| {
            count.set(count.get() + 1);
            done.send((count.get(), current.revision)).unwrap();
            if count.get() < 6 {
                Err("not yet".to_owned())
            } else {
                Ok(())
            }
        },
    );
    beside(kept, async {
        for number in 1..=6 {
            assert_eq!(tries.recv().await, Some((number, 1)));
        }
    })
    .await;
}
