//! All bots of one process: which there are follows from the configuration and the lease, and changes with either. A bot
//! whose token or settings changed begins anew; the rest goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_channel::{
    Credit, Health, Journal, JournalError, Lease, Leased, Outbound, follow_leases,
};
use clawdbot_http::{BaseUrl, Tls};
use clawdbot_proto::v1::{ChannelAccount, ChannelSlice, Snapshot, snapshot::Slice};
use clawdbot_service::{Edge, Pulses, ServeError};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{error, warn};

use crate::account::{Account, Accounts};
use crate::client::Client;
use crate::cursor::Cursors;
use crate::outlet::Telegram;
use crate::poll::{Poller, Ports};
use crate::token::Token;
use crate::trouble::login;
use crate::typing::TypingShows;
use crate::{Connect, notices};

/// How long tokens for the servers of the configuration may be on their way.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the worker works with.
pub struct Worker {
    /// Edge to policy: admission and health.
    pub policy: Edge,
    /// Edge to the broker: tokens.
    pub broker: Edge,
    /// Edge to the gateway: messages in and answers out.
    pub gateway: Edge,
    /// The accounts.
    pub config: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Where connections come from.
    pub connect: Connect,
    /// Whom TLS trusts.
    pub tls: Tls,
    /// Directory for the journal and the cursors.
    pub state: PathBuf,
    /// Where polls show that they get on.
    pub pulses: Pulses,
}

/// A bot at work, and what it works with.
struct Running {
    account: Arc<Account>,
    lease_version: u64,
    poll: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

impl Worker {
    /// Works until `stop`; `status` gets a line whenever the bots change.
    ///
    /// # Errors
    /// When the journal of sends cannot be opened.
    pub async fn run(
        self,
        status: impl Fn(&str) + Send + 'static,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (journal, damage) =
            Journal::open(&self.state.join("journal")).map_err(|error| match &error {
                JournalError::Io { error: io, .. } => ServeError::io(error.to_string(), io),
                JournalError::Closed => error.to_string().into(),
            })?;
        if let Some(damage) = damage {
            error!(lines = ?damage.lines, kept = ?damage.kept,
                "the journal of sends was damaged: what it said there is not known, so an answer may be sent twice; \
                 check the disk");
        }
        let journal = Arc::new(journal);
        let accounts = Arc::new(Accounts::default());
        let ports = Ports {
            policy: self.policy.clone(),
            gateway: self.gateway.clone(),
            credit: Credit::default(),
            health: Health::start(self.policy.clone()),
            journal: Arc::clone(&journal),
            cursors: Arc::new(Cursors::open(self.state.join("cursors.json"))),
            pulses: self.pulses.clone(),
        };
        let telegram = Arc::new(Telegram {
            accounts: Arc::clone(&accounts),
            journal: Arc::clone(&journal),
            typing: TypingShows::default(),
        });
        let served = watch::Sender::new(Vec::new());
        let outbound = Outbound::new(self.gateway.clone(), telegram, journal);
        let credit = ports.credit.clone();
        let news = served.subscribe();
        // Ends with this call, however that ends.
        let mut bots = JoinSet::new();
        let notices = notices::tell(
            self.policy.clone(),
            Arc::clone(&accounts),
            served.subscribe(),
        );
        bots.spawn(notices);
        bots.spawn(self.follow(ports, accounts, served, status));
        outbound.run(news, credit, stop).await;
        Ok(())
    }

    /// Keeps the bots as configuration and lease say.
    async fn follow(
        mut self,
        ports: Ports,
        accounts: Arc<Accounts>,
        served: watch::Sender<Vec<String>>,
        status: impl Fn(&str),
    ) {
        let mut lease = follow_leases(self.broker.clone());
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        loop {
            let slice = slice_of(self.config.borrow_and_update().as_deref());
            let held = lease.borrow_and_update().clone();
            let foreign = self.adjust(&slice, &held, &ports, &mut running);
            accounts.replace(running.values().map(|bot| Arc::clone(&bot.account)));
            let names: Vec<String> = running.keys().cloned().collect();
            status(&format!(
                "{} of {} Telegram bots",
                names.len(),
                slice.accounts.len()
            ));
            served.send_if_modified(|known| {
                let changed = *known != names;
                *known = names;
                changed
            });
            let too_late = async {
                if let Some(version) = foreign {
                    tokio::time::sleep(PATIENCE).await;
                    missing(&slice, version, &running, &ports.health);
                }
                std::future::pending::<bool>().await
            };
            let ended = tokio::select! {
                changed = self.config.changed() => changed.is_err(),
                changed = lease.changed() => changed.is_err(),
                ended = too_late => ended,
            };
            if ended {
                return;
            }
        }
    }

    /// Returns the lease's version when its tokens are meant for other servers than the configuration names: both come on
    /// different ways, and until those that belong together are there nothing starts, and only what has not changed goes on.
    fn adjust(
        &self,
        slice: &ChannelSlice,
        lease: &Lease,
        ports: &Ports,
        running: &mut BTreeMap<String, Running>,
    ) -> Option<u64> {
        let settings = &slice.accounts;
        let none = Leased::default();
        let (leased, remedy) = match lease {
            Lease::Waiting => return None,
            Lease::None(remedy) => (&none, Some(remedy)),
            Lease::Held(leased) if leased.audience != slice.audience => {
                running.retain(|_, bot| settings.contains(&bot.account.settings));
                return Some(leased.version);
            }
            Lease::Held(leased) => (leased.as_ref(), None),
        };
        let names = settings.iter().map(|account| account.account.clone());
        ports.health.begin(leased.version, names);
        running.retain(|name, _| settings.iter().any(|account| account.account == *name));
        for account in settings {
            let name = &account.account;
            let Some(secret) = leased.secrets.get(name) else {
                running.remove(name);
                let advice = remedy
                    .cloned()
                    .unwrap_or_else(|| format!("store it with: {}", login(name)));
                let message = format!("the Telegram account {name} has no bot token; {advice}");
                ports.health.problem(name, "channel.no_token", &message);
                continue;
            };
            let token = match Token::new(Arc::clone(secret)) {
                Ok(token) => token,
                Err(wrong) => {
                    running.remove(name);
                    let message =
                        format!("account {name}: {wrong}; store it with: {}", login(name));
                    ports.health.problem(name, "channel.auth_revoked", &message);
                    continue;
                }
            };
            let goes_on = running.get(name).is_some_and(|bot| {
                bot.lease_version == leased.version
                    && bot.account.settings == *account
                    && bot.account.token.same(&token)
            });
            if !goes_on {
                running.remove(name);
                match self.start(account, token, ports, leased.version) {
                    Ok(bot) => {
                        running.insert(name.clone(), bot);
                    }
                    Err(message) => {
                        warn!(account = %name, %message, "not started");
                        ports.health.problem(name, "channel.unavailable", &message);
                    }
                }
            }
        }
        None
    }

    fn start(
        &self,
        settings: &ChannelAccount,
        token: Token,
        ports: &Ports,
        lease_version: u64,
    ) -> Result<Running, String> {
        let base = BaseUrl::parse(&settings.api_root)
            .map_err(|error| format!("channels.telegram.apiRoot: {error}"))?;
        let client = Client::new(
            base,
            token.clone(),
            Arc::clone(&self.connect),
            self.tls.clone(),
        );
        let account = Arc::new(Account::new(settings.clone(), token, client));
        let poller = Poller::new(Arc::clone(&account), ports.clone());
        Ok(Running {
            account,
            lease_version,
            poll: tokio::spawn(poller.run()).abort_handle(),
        })
    }
}

fn slice_of(snapshot: Option<&Snapshot>) -> ChannelSlice {
    match snapshot.and_then(|snapshot| snapshot.slice.as_ref()) {
        Some(Slice::Channel(channel)) => channel.clone(),
        _ => ChannelSlice::default(),
    }
}

/// Says of which accounts the tokens have not come.
fn missing(
    slice: &ChannelSlice,
    version: u64,
    running: &BTreeMap<String, Running>,
    health: &Health,
) {
    let names = slice.accounts.iter().map(|account| account.account.clone());
    health.begin(version, names);
    for account in &slice.accounts {
        let name = &account.account;
        if !running.contains_key(name) {
            let message = format!(
                "the bot token of account {name} is meant for another server than channels.telegram.apiRoot, and the one for \
                 this server has not come yet; `clawdbot status` says whether the broker works"
            );
            health.problem(name, "channel.unavailable", &message);
        }
    }
}
