//! The state of the running process: the configuration in force, the door, the audit log. Every decision goes through
//! [`Policy::decide`], which writes it down and withdraws a permission that cannot be written down.

mod written;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clawdbot_proto::v1;
use clawdbot_secrets::Secret;
use clawdbot_service::{Pulse, system};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::audit::Log;
use crate::budget::Budgets;
use crate::config_file::ConfigFile;
use crate::credential::{Finder, StartCredentials};
use crate::denied::Denied;
use crate::distil::Reading;
use crate::door::{Door, no_config};
use crate::health::Health;
use crate::keep::Keep;
use crate::notices::{About, Notice, Notices, To};
use crate::pairing::{self, Herald, Store};
use crate::people;
use crate::plan_files::PlanFiles;
use crate::provenance::Provenance;
use crate::questions::{self, Questions};
use crate::record::Decision;
use crate::seal::Sealer;
use crate::seen;
use crate::series::Series;
use crate::settings::Settings;
use crate::slices::{self, Place};
use crate::tools::{Catalogue, Providers};
use crate::trouble::Trouble;

/// Password checks that may wait for their turn; each takes some tens of milliseconds.
const WAITING: usize = 16;

/// A validated configuration and what it brought along.
pub(crate) struct InForce {
    /// Grows by one with each accepted configuration, from 1.
    pub(crate) revision: u64,
    pub(crate) settings: Settings,
    /// For the broker, which forgets them when it is restarted.
    pub(crate) secrets: Vec<HeldSecret>,
}

/// What the configuration says about one secret of another process.
pub(crate) struct HeldSecret {
    pub(crate) path: String,
    pub(crate) value: HeldValue,
}

pub(crate) enum HeldValue {
    Literal(Secret),
    Reference { source: &'static str, id: String },
}

/// What `prepare` opened.
pub(crate) struct Parts {
    pub(crate) place: Place,
    pub(crate) config: ConfigFile,
    pub(crate) keep: Keep,
    pub(crate) master: Zeroizing<[u8; 32]>,
    pub(crate) start: StartCredentials,
    pub(crate) audit: Log,
    pub(crate) people: Store,
    pub(crate) provenance: Provenance,
    pub(crate) budgets: Budgets,
    pub(crate) plan: PlanFiles,
}

/// The state of the process.
pub(crate) struct Policy {
    pub(crate) place: Place,
    pub(crate) config: ConfigFile,
    pub(crate) handles: Sealer,
    /// Whom the owner approved of.
    pub(crate) people: Arc<Store>,
    pub(crate) budgets: Budgets,
    pub(crate) catalogue: Catalogue,
    pub(crate) providers: Providers,
    pub(crate) provenance: Provenance,
    pub(crate) questions: Questions,
    pub(crate) notices: Notices,
    plan: PlanFiles,
    keep: Keep,
    master: Zeroizing<[u8; 32]>,
    start: StartCredentials,
    pub(crate) audit: Mutex<Log>,
    /// Up to which record everything is safe against a power cut.
    synced: tokio::sync::Mutex<u64>,
    disk: OnceLock<Pulse>,
    series: Mutex<Series>,
    door: Mutex<Door>,
    in_force: watch::Sender<Option<Arc<InForce>>>,
    trouble: Mutex<Option<Trouble>>,
    health: Mutex<Health>,
    problems: watch::Sender<Vec<v1::Problem>>,
    herald: Mutex<Herald>,
    /// One password check at a time.
    pub(crate) hashing: Arc<Semaphore>,
    pub(crate) waiting: Arc<Semaphore>,
    started: Instant,
    started_ms: u64,
}

impl Policy {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            place: parts.place,
            config: parts.config,
            handles: Sealer::derive(&parts.master, &[b"handle"]),
            people: Arc::new(parts.people),
            budgets: parts.budgets,
            catalogue: Catalogue::default(),
            providers: Providers::default(),
            provenance: parts.provenance,
            questions: Questions::default(),
            notices: Notices::new(unix_ms()),
            plan: parts.plan,
            keep: parts.keep,
            master: parts.master,
            start: parts.start,
            audit: Mutex::new(parts.audit),
            synced: tokio::sync::Mutex::default(),
            disk: OnceLock::new(),
            series: Mutex::default(),
            door: Mutex::default(),
            in_force: watch::Sender::new(None),
            trouble: Mutex::default(),
            health: Mutex::default(),
            problems: watch::Sender::new(Vec::new()),
            herald: Mutex::default(),
            hashing: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            started: Instant::now(),
            started_ms: unix_ms(),
        }
    }

    /// The configuration in force, and news of others.
    pub(crate) fn in_force(&self) -> watch::Receiver<Option<Arc<InForce>>> {
        self.in_force.subscribe()
    }

    /// The configuration in force.
    ///
    /// # Errors
    /// With the rule `config.none` and the first error of the file while none was ever valid.
    pub(crate) fn current(&self) -> Result<Arc<InForce>, Denied> {
        self.in_force.borrow().clone().ok_or_else(|| {
            let mut denied = no_config();
            if let Some(trouble) = self.trouble() {
                denied.message = format!("the configuration is not valid: {}", trouble.first);
            }
            denied
        })
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        lock(&self.trouble).clone()
    }

    pub(crate) fn door(&self) -> MutexGuard<'_, Door> {
        lock(&self.door)
    }

    /// Time since the start, for waits.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Puts a valid configuration into force.
    ///
    /// # Errors
    /// When its credential cannot be had, or it stands for a file that is gone; nothing has changed then.
    pub(crate) fn accept(&self, reading: Reading) -> Result<(), Trouble> {
        let current = self.in_force.borrow().clone();
        let Reading {
            from_file,
            settings,
            auth,
            secrets,
        } = reading;
        // What the file forbade must not become permitted because it is not there any more.
        if !from_file {
            seen::nothing(&self.keep)?;
        }
        let credential = self.finder().find(&auth).map_err(Trouble::line)?;
        let revision = current.as_ref().map_or(0, |current| current.revision) + 1;
        let change = Decision {
            request: "config",
            subject: &format!("revision {revision}"),
            ..Decision::default()
        };
        match current {
            Some(_) => self.write(&change).map_err(|_| Trouble::unrecorded())?,
            // The first one changes nothing, and while nothing can be written every decision is a refusal.
            None => self.note(&change),
        }
        self.door().set(credential, settings.limit);
        if settings.limit.is_none() {
            warn!(
                "gateway.auth.rateLimit is off: passwords and tokens can be guessed without a limit"
            );
        }
        for model in slices::inactive_models(&settings) {
            warn!(
                model,
                "nobody knows where this provider is (models.providers.<id>.baseUrl); {} answers where there is no other model",
                slices::GUIDE
            );
        }
        if from_file {
            seen::remember(&self.keep, self.config.path())?;
        }
        *lock(&self.trouble) = None;
        self.notices.over(&About::Config);
        lock(&self.health).keep(|role| slices::is_planned(&settings, role));
        info!(revision, "the configuration is in force");
        // A worker whose slice became empty ends; it must not be started again, nor before it has one.
        self.plan.withdraw(Some(&settings), unix_ms());
        let in_force = Arc::new(InForce {
            revision,
            settings,
            secrets,
        });
        self.in_force.send_replace(Some(Arc::clone(&in_force)));
        self.plan.publish(&in_force.settings, unix_ms());
        self.renew_problems();
        Ok(())
    }

    /// Takes what a worker says about itself. One that is about to end, since the configuration has no use for it any
    /// more, is not listened to.
    ///
    /// # Errors
    /// What is wrong with the report.
    pub(crate) fn take_report(
        &self,
        role: &str,
        report: v1::HealthReport,
    ) -> Result<(), &'static str> {
        let planned = self
            .in_force
            .borrow()
            .as_ref()
            .is_none_or(|in_force| slices::is_planned(&in_force.settings, role));
        if !planned {
            return Ok(());
        }
        let news = lock(&self.health).report(role, report, unix_ms())?;
        for problem in news.begun {
            warn!(worker = role, code = problem.code, "{}", problem.message);
        }
        for problem in news.over {
            info!(worker = role, code = problem.code, "no longer a problem");
        }
        self.renew_problems();
        Ok(())
    }

    /// Looks whether the service manager still sees what is to run.
    pub(crate) fn renew_plan(&self) {
        self.plan.again(unix_ms());
    }

    /// A worker's last report.
    pub(crate) fn health_of(&self, role: &str) -> Option<v1::HealthReport> {
        lock(&self.health).of(role).cloned()
    }

    /// What the operator has to know, and news of it.
    pub(crate) fn problems(&self) -> watch::Receiver<Vec<v1::Problem>> {
        self.problems.subscribe()
    }

    /// Looks again what the operator has to know: reports of workers, requests that wait.
    pub(crate) fn renew_problems(&self) {
        let mut all: Vec<_> = lock(&self.health).problems().cloned().collect();
        let current = self.in_force.borrow().clone();
        let owner = |row: &pairing::Row<&pairing::Pending>| {
            let current = current.as_ref();
            current.and_then(|current| pairing::makes_owner(&current.settings, row))
        };
        let questions = self.questions.list(unix_ms());
        all.extend(questions.iter().map(|row| v1::Problem {
            code: "approval.waiting".to_owned(),
            message: questions::problem(row),
            role: "policy".to_owned(),
            since_ms: row.asked_ms,
        }));
        match self.people.book() {
            Ok(book) => {
                all.extend(book.pending(unix_ms()).iter().map(|row| v1::Problem {
                    code: "pairing.requested".to_owned(),
                    message: pairing::notice(row, owner(row)),
                    role: format!("channel-{}", row.channel),
                    since_ms: row.what.created_ms,
                }));
                if let Some(current) = &current {
                    let now = unix_ms();
                    let owners = people::owners(&current.settings, &book, now);
                    self.notices.set_owners(owners);
                    self.tell_requests(&book, now, owner);
                }
            }
            Err(denied) => all.push(v1::Problem {
                code: denied.rule.to_owned(),
                message: denied.message,
                role: "policy".to_owned(),
                since_ms: self.started_ms,
            }),
        }
        all.extend(self.audit_trouble().map(|trouble| v1::Problem {
            code: "audit.trouble".to_owned(),
            message: format!("the audit log: {trouble}"),
            role: "policy".to_owned(),
            since_ms: self.started_ms,
        }));
        let folders = { current.iter() }.flat_map(|now| self.place.out_of_reach(&now.settings));
        all.extend(folders.map(|folder| v1::Problem {
            code: "workspace.elsewhere".to_owned(),
            message: format!(
                "agents cannot work in {folder}, which no process reaches when each has a user of its own: they work in {parent}/main and {parent}/guest; put the files there, or name a folder below {parent}/main",
                parent = system::WORKSPACES,
            ),
            role: "policy".to_owned(),
            since_ms: self.started_ms,
        }));
        if let Some((since_ms, trouble)) = self.plan.trouble() {
            all.push(v1::Problem {
                code: "plan.unwritten".to_owned(),
                message: format!(
                    "the service manager cannot be told what is to run: {trouble}; `systemd-tmpfiles --create clawdbot.conf` mends the folder, `systemctl restart clawdbot-policy` writes it anew"
                ),
                role: "policy".to_owned(),
                since_ms,
            });
        }
        if let Some(problem) = self.budgets.problem() {
            all.push(v1::Problem {
                code: "budget.unavailable".to_owned(),
                message: problem,
                role: "policy".to_owned(),
                since_ms: self.started_ms,
            });
        }
        self.problems.send_if_modified(|known| {
            let news = *known != all;
            *known = all;
            news
        });
    }

    /// Tells the owners who asks to be let in.
    fn tell_requests(
        &self,
        book: &pairing::Book,
        now_ms: u64,
        owner: impl Fn(&pairing::Row<&pairing::Pending>) -> Option<&'static str>,
    ) {
        let waits = |code: &String| {
            let pending = book.pending(now_ms);
            pending.iter().any(|row| row.what.code == *code)
        };
        self.notices.keep(|about| match about {
            About::Pairing(codes) => codes.iter().any(waits),
            _ => true,
        });
        let mut herald = lock(&self.herald);
        for rows in herald.due(book, now_ms) {
            let lines = rows.iter().map(|row| pairing::notice(row, owner(row)));
            let lines: Vec<_> = lines.collect();
            let ends = rows.iter().map(|row| row.what.expires_ms());
            let told = self.notices.tell(Notice {
                about: About::Pairing(rows.iter().map(|row| row.what.code.clone()).collect()),
                to: To::Owners,
                text: lines.join("\n\n"),
                expires_ms: ends.max().unwrap_or(now_ms),
                by_others: true,
            });
            if told > 0 {
                herald.handed(&rows, now_ms);
            }
        }
    }

    /// Takes what became of a notice. What has been told of requests is remembered over a restart.
    pub(crate) async fn settle_notice(&self, channel: &str, id: &str, sent: bool) {
        if let Some(About::Pairing(codes)) = self.notices.settle(channel, id, sent) {
            // If it cannot be written it is told again after a restart, which is better than never.
            let _unwritten = self.people.change(move |book| book.told(&codes)).await;
        }
    }

    /// Notes that the file on disk is not valid; what was in force stays.
    pub(crate) fn reject(&self, trouble: Trouble) {
        let mut known = lock(&self.trouble);
        if known.as_ref() == Some(&trouble) {
            return;
        }
        let rule = trouble.rule.unwrap_or(match self.config_exists() {
            true => "config.invalid",
            false => "config.gone",
        });
        self.note(&Decision {
            request: "config",
            refused: Some(rule),
            ..Decision::default()
        });
        match self.in_force.borrow().as_ref() {
            Some(current) => {
                warn!(
                    error = trouble.first,
                    revision = current.revision,
                    "ALARM: the changed configuration is refused; the last good one stays in force"
                );
                self.notices.tell(trouble.notice(unix_ms()));
            }
            None => {
                warn!(
                    error = trouble.first,
                    "the configuration is refused: everything is denied until it is valid"
                );
                self.plan.withdraw(None, unix_ms());
            }
        }
        *known = Some(trouble);
    }

    /// Replaces the generated token; every visit and login code ends.
    ///
    /// # Errors
    /// One line that says why not.
    pub(crate) fn rotate(&self) -> Result<(), String> {
        let credential = self.finder().rotate()?;
        self.door().replace(credential);
        Ok(())
    }

    fn finder(&self) -> Finder<'_> {
        Finder {
            keep: &self.keep,
            master: &self.master,
            start: &self.start,
            random,
        }
    }

    /// One line for the status.
    pub(crate) fn status_line(&self) -> String {
        let trouble = self
            .trouble()
            .map(|trouble| clawdbot_identity::text::sanitize_line(&trouble.first).into_owned());
        match (self.in_force.borrow().as_ref(), trouble) {
            (Some(current), None) => format!("configuration {}", current.revision),
            (Some(current), Some(error)) => format!(
                "configuration {}; the changed file is refused: {error}",
                current.revision
            ),
            (None, Some(error)) => format!("denying everything: {error}"),
            (None, None) => "no configuration yet".to_owned(),
        }
    }

    pub(crate) fn config_exists(&self) -> bool {
        self.config.path().exists()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the process, so a poisoned lock is never seen.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fresh random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Unix time, seconds.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Unix time, milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
