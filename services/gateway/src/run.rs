//! The life of the process: open the queue, take up what was accepted before, open the doors, end in good order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clawdbot_identity::{Class, Role};
use clawdbot_proto::v1;
use clawdbot_proto::v1::channel_desk_server::ChannelDeskServer;
use clawdbot_proto::v1::chat_server::ChatServer;
use clawdbot_proto::v1::snapshot::Slice;
use clawdbot_service::{Context, Router, ServeError, Start, StartError};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::channels::{self, Channels};
use crate::desk::Desk;
use crate::front::{Feeds, Front};
use crate::operator::Operator;
use crate::queue::{OpenError, Queue, QueueError, Store};
use crate::rule::Manners;
use crate::turns::{Agents, Turns};
use crate::{clock, limits, problems};

/// The status line before there is a slice.
const WAITING: &str = "waiting for policy to find a valid configuration";
/// How long one transaction may take: a slow disk is waited for, one that answers no more is not.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known before the confinement.
pub struct Prepared {
    queue: PathBuf,
}

/// Knows the queue's directory. The database is opened later: what an earlier gateway left there is read only by a
/// confined one.
///
/// # Errors
/// When the profile does not name it.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    Ok(Prepared {
        queue: start.state("queue")?,
    })
}

/// Serves until the process should end.
///
/// # Errors
/// When the queue cannot be opened or used any more.
pub async fn serve(prepared: Prepared, ctx: Context) -> Result<(), ServeError> {
    let failed = |error| failure(&prepared.queue, error);
    let store = Store::open(&prepared.queue).map_err(refusal)?;
    let queue = Queue::start(store, ctx.pulse("queue", PATIENCE))?;
    queue.prune(clock::now_ms()).await.map_err(failed)?;

    let policy = ctx.edge(&Role::policy());
    let agents = Agents {
        main: ctx.edge(&Role::agent(Class::Main)),
        guest: ctx.edge(&Role::agent(Class::Guest)),
    };
    let channels = Channels::new(queue.clone());
    let turns = Turns::new(queue.clone(), agents.clone(), channels.clone());
    let (over_sender, over) = watch::channel(false);
    let feeds = Feeds {
        config: ctx.config(),
        listeners: ctx.listeners(),
        over,
    };
    let front = Front::new(
        Desk::new(
            turns.clone(),
            policy.clone(),
            agents,
            problems::follow(policy.clone()),
        ),
        policy.clone(),
        feeds,
    );
    let answers = channels.resume().await.map_err(failed)?;
    let messages = turns.resume().await.map_err(failed)?;
    if messages + answers > 0 {
        info!(messages, answers, "taking up what was accepted before");
    }

    let follows = tokio::spawn(follow_config(ctx.clone(), front.clone()));
    let prunes = tokio::spawn(prune_daily(queue.clone(), channels.clone()));
    let times = tokio::spawn({
        let turns = turns.clone();
        async move { turns.keep_time().await }
    });
    let door = tokio::spawn({
        let front = front.clone();
        async move { front.open().await }
    });
    let desk = channels::Desk::new(turns, policy);
    let router = Router::new()
        .add(
            ChatServer::new(Operator::new(front))
                .max_decoding_message_size(2 * limits::FRAME_BYTES),
        )
        .add(ChannelDeskServer::new(desk));
    let ended = tokio::select! {
        ended = ctx.serve(router) => ended,
        () = queue.stopped() => Err("the message queue failed; the log says why".into()),
    };
    // Nothing more is taken; what was begun is written before the process ends, since the queue works in order.
    channels.stop();
    over_sender.send_replace(true);
    let _ = door.await;
    for task in [follows, prunes, times] {
        task.abort();
    }
    if let Err(error) = queue.flush().await {
        warn!(%error, "delivery notes were not written");
    }
    ended
}

/// A queue that only a person can mend is not opened again and again.
fn refusal(error: OpenError) -> ServeError {
    match error.needs_a_person() {
        true => ServeError::config(error.to_string()),
        false => error.to_string().into(),
    }
}

/// What an open queue could not do at the start.
fn failure(folder: &Path, error: QueueError) -> ServeError {
    match error {
        QueueError::Damaged(what) => refusal(OpenError::damaged(folder, what)),
        other => other.to_string().into(),
    }
}

/// Ready with the first slice, or at once where nobody waits for anybody; the status line and the limit of turns follow every
/// change.
async fn follow_config(ctx: Context, front: Front) {
    let (mut config, mut listeners) = (ctx.config(), ctx.listeners());
    let mut ready = ctx.is_managed();
    match ready {
        true => ctx.ready(WAITING),
        false => ctx.status(WAITING),
    }
    loop {
        let snapshot: Option<Arc<v1::Snapshot>> = config.borrow_and_update().clone();
        listeners.borrow_and_update();
        if let Some(Slice::Gateway(slice)) = snapshot.as_ref().and_then(|s| s.slice.as_ref()) {
            let max = usize::try_from(slice.max_concurrent).unwrap_or(0);
            let turns = front.desk().turns();
            turns.set_max(match max {
                0 => limits::MAX_CONCURRENT,
                max => max,
            });
            turns.set_manners(Manners::of(slice));
            let line = match front.urls().as_slice() {
                [] => "not listening yet".to_owned(),
                urls => urls.join(" "),
            };
            match std::mem::replace(&mut ready, true) {
                false => ctx.ready(&line),
                true => ctx.status(&line),
            }
        }
        tokio::select! {
            changed = config.changed() => if changed.is_err() { return },
            changed = listeners.changed() => if changed.is_err() { return },
        }
    }
}

async fn prune_daily(queue: Queue, channels: Channels) {
    loop {
        tokio::time::sleep(limits::PRUNE_EVERY).await;
        match queue.prune(clock::now_ms()).await {
            Ok(rows) => info!(rows, "forgot settled messages"),
            Err(error) => warn!(%error, "settled messages were not forgotten"),
        }
        if let Err(error) = channels.count().await {
            warn!(%error, "unsure and refused answers were not counted anew");
        }
    }
}
