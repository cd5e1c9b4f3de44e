//! Whether anybody needs this worker. Where a service manager starts it for the next request, one that nobody has asked for a
//! while ends itself, and its memory is free.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdbot_proto::v1::model_server::Model;
use clawdbot_proto::v1::{GenerateEvent, GenerateRequest};
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};

use crate::worker::Events;

/// How long a worker without a request stays.
const LONGEST: Duration = Duration::from_secs(600);

/// Who uses the worker. Cheap to clone.
#[derive(Clone)]
pub struct Idle(Arc<Mutex<State>>);

struct State {
    /// Requests whose answers have not ended.
    under_way: usize,
    /// When the last one ended.
    since: Instant,
    /// The process ends; nothing is begun any more.
    over: bool,
}

/// A request from its arrival to the end of its answer.
struct InUse(Idle);

impl Idle {
    /// Nobody yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            under_way: 0,
            since: Instant::now(),
            over: false,
        })))
    }

    /// Returns when nobody has used the worker for a while and it `may_end`. From then on no request is begun.
    pub async fn outlasted(&self, may_end: impl Fn() -> bool) {
        loop {
            let next = {
                let mut state = self.state();
                let now = Instant::now();
                let since = if state.under_way > 0 {
                    now
                } else {
                    state.since
                };
                if since + LONGEST > now {
                    since + LONGEST
                } else if may_end() {
                    state.over = true;
                    return;
                } else {
                    now + LONGEST
                }
            };
            sleep_until(next).await;
        }
    }

    /// In a process that ends it never returns: the request has reached nobody, its connection is cut with the process, and
    /// the edge brings it to the next one.
    async fn begin(&self) -> InUse {
        let begun = {
            let mut state = self.state();
            if !state.over {
                state.under_way += 1;
            }
            !state.over
        };
        match begun {
            true => InUse(self.clone()),
            false => std::future::pending().await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        state.since = Instant::now();
    }
}

/// A worker whose requests count as use.
pub struct Counted<M> {
    pub worker: M,
    pub idle: Idle,
}

#[tonic::async_trait]
impl<M: Model<GenerateStream = Events>> Model for Counted<M> {
    type GenerateStream = Events;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Events>, Status> {
        let used = self.idle.begin().await;
        let answer = self.worker.generate(request).await?;
        Ok(answer.map(|events| -> Events { Box::pin(held(events, used)) }))
    }
}

fn held(events: Events, used: InUse) -> impl Stream<Item = Result<GenerateEvent, Status>> + Send {
    events.map(move |event| {
        let _until_the_end = &used;
        event
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use clawdbot_identity::{Class, InstanceName, Role};
    use clawdbot_proto::v1::model_client::ModelClient;
    use clawdbot_proto::v1::model_server::ModelServer;
    use clawdbot_service::Router;
    use clawdbot_service::testing::Link;
    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Answers with one event, and then ends or does not.
    #[derive(Clone, Default)]
    struct Fake {
        asked: Arc<AtomicUsize>,
        endless: bool,
    }

    #[tonic::async_trait]
    impl Model for Fake {
        type GenerateStream = Events;

        async fn generate(&self, _: Request<GenerateRequest>) -> Result<Response<Events>, Status> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let one = stream::iter([Ok(GenerateEvent::default())]);
            let events: Events = match self.endless {
                true => Box::pin(one.chain(stream::pending())),
                false => Box::pin(one),
            };
            Ok(Response::new(events))
        }
    }

    fn request() -> Request<GenerateRequest> {
        Request::new(GenerateRequest::default())
    }

    /// The minutes until it is over, counted from now.
    async fn minutes(idle: &Idle, may_end: impl Fn() -> bool) -> u64 {
        let before = Instant::now();
        idle.outlasted(may_end).await;
        before.elapsed().as_secs() / 60
    }

    #[tokio::test(start_paused = true)]
    async fn ten_minutes_after_the_last_answer_it_is_over() {
        let idle = Idle::new();
        sleep(4 * MINUTE).await;
        assert_eq!(minutes(&idle.clone(), || true).await, 6);

        let idle = Idle::new();
        let counted = Counted {
            worker: Fake::default(),
            idle: idle.clone(),
        };
        sleep(9 * MINUTE).await;
        let answer = counted.generate(request()).await.unwrap();
        assert_eq!(answer.into_inner().count().await, 1);
        assert_eq!(minutes(&idle, || true).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_an_answer_that_goes_on_nor_a_problem_lets_it_end() {
        let idle = Idle::new();
        let counted = Counted {
            worker: Fake {
                endless: true,
                ..Fake::default()
            },
            idle: idle.clone(),
        };
        let answer = counted.generate(request()).await.unwrap();
        let waiting = idle.clone();
        let ended = tokio::spawn(async move { waiting.outlasted(|| true).await });
        sleep(35 * MINUTE).await;
        assert!(!ended.is_finished());
        drop(answer);
        let before = Instant::now();
        ended.await.unwrap();
        assert!(before.elapsed() >= 9 * MINUTE, "{:?}", before.elapsed());

        let idle = Idle::new();
        let well = Arc::new(AtomicBool::new(false));
        let mended = Arc::clone(&well);
        tokio::spawn(async move {
            sleep(25 * MINUTE).await;
            mended.store(true, Ordering::Relaxed);
        });
        assert_eq!(minutes(&idle, || well.load(Ordering::Relaxed)).await, 30);
    }

    #[tokio::test]
    async fn what_arrives_at_the_end_reaches_nobody_and_is_answered_by_the_next_start() {
        let agent = Role::agent(Class::Main);
        let model = Role::model(&InstanceName::parse("openai").unwrap());
        let (first, second) = (Fake::default(), Fake::default());
        let router = |worker: &Fake, idle: &Idle| {
            Router::new().add(ModelServer::new(Counted {
                worker: worker.clone(),
                idle: idle.clone(),
            }))
        };
        let link = Link::new(&agent, &model);
        let ends = Idle::new();
        ends.state().over = true;
        link.reconnect(router(&first, &ends)).await.unwrap();
        let mut client = ModelClient::new(link.edge());
        let asked = tokio::spawn(async move {
            let mut events = client
                .generate(GenerateRequest::default())
                .await?
                .into_inner();
            events.message().await
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!asked.is_finished());
        link.reconnect(router(&second, &Idle::new())).await.unwrap();
        assert_eq!(
            asked.await.unwrap().unwrap(),
            Some(GenerateEvent::default())
        );
        let counts = [first, second].map(|fake| fake.asked.load(Ordering::Relaxed));
        assert_eq!(counts, [0, 1]);
    }
}
