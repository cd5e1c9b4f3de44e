//! The one call that confines a process, in the order that makes each step possible and the next one
//! binding: network, limits, not dumpable, no new privileges, files, calls, self-test, measurement. It
//! refuses to leave a process half confined without saying so.

#[cfg(target_os = "linux")]
pub(crate) mod network;

use std::io;

use crate::landlock::{FileRule, LandlockError};
use crate::measure::Confinement;
use crate::profile::{Mode, Profile};
use crate::seccomp::SeccompError;

/// Why a process is not confined as it must be; it must end then.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// More than one thread: the others would stay free.
    #[error("the process has {0} threads; it is confined before there is a second one")]
    Threads(u32),
    /// A step that every kernel has was refused.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file rule could not be made.
    #[error(transparent)]
    Files(#[from] LandlockError),
    /// The filter could not be made.
    #[error(transparent)]
    Calls(#[from] SeccompError),
    /// Something forbidden worked.
    #[error("the self-test failed, forbidden and yet possible: {}", .0.join(", "))]
    SelfTest(Vec<String>),
    /// Every candidate for the self-test's forbidden file is covered by a rule.
    #[error(
        "the file rules cover everything that the self-test could try; permit less than the whole file system"
    )]
    Untestable,
}

impl ConfineError {
    /// Whether another start may fare better with the same configuration and the same kernel: a file
    /// that a rule names was not there, as while somebody replaces it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Files(LandlockError::Missing { .. }))
    }
}

/// What worked of what must not.
#[cfg(target_os = "linux")]
fn refuse(worked: Vec<String>) -> Result<(), ConfineError> {
    match worked.is_empty() {
        true => Ok(()),
        false => Err(ConfineError::SelfTest(worked)),
    }
}

fn step(step: &'static str, result: io::Result<()>) -> Result<(), ConfineError> {
    result.map_err(|source| ConfineError::Step { step, source })
}

/// Confines the process for good; see the module. Call it with one thread and everything opened that
/// the file rules do not cover.
///
/// A kernel that lacks landlock, filters or user namespaces is no error: the result says what is
/// missing.
///
/// # Errors
/// See [`ConfineError`]. The process must end then, since a part may be in force.
#[cfg(target_os = "linux")]
pub fn confine(
    profile: &Profile,
    mode: Mode,
    rules: &[FileRule],
) -> Result<Confinement, ConfineError> {
    use crate::measure::{Found, Network};
    use crate::memory::Backing;
    use crate::process::{Status, env_visit, no_new_privs, not_dumpable};
    use crate::{fd, landlock, seccomp, selftest, socket_filter};
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    // Opened now: afterwards `/proc` is out of reach. Where there is none, the result says so.
    let report = Status::open().ok();
    let threads = report
        .as_ref()
        .and_then(|file| Status::read(file).ok())
        .map(|now| now.threads);
    if let Some(threads) = threads.filter(|threads| *threads != 1) {
        return Err(ConfineError::Threads(threads));
    }
    // rustix asks the kernel for it once, by a prctl that the filter would take for an attack.
    let _ = rustix::param::page_size();
    // Before "not dumpable", which would hide the files that set the ids.
    let moved = network::leave(profile, mode).map_err(|source| ConfineError::Step {
        step: "give up capabilities over its network",
        source,
    })?;
    if moved.network == Network::Own {
        // The unit's own namespace has its loopback up.
        refuse(selftest::network(mode == Mode::Single))?;
    }
    let strays = fd::strays().unwrap_or(0);
    let mut variables = 0;
    env_visit(|_| variables += 1);
    step("set limits", profile.limits().apply())?;
    step("forbid dumps", not_dumpable())?;
    step("forbid new privileges", no_new_privs())?;
    let dumpable = dumpable_behavior().ok() != Some(DumpableBehavior::NotDumpable);

    let socket_lock = !profile.connect_tcp || socket_filter::permitted();
    let mut landlock_abi = 0;
    let mut seccomp_applied = false;
    if profile.filter {
        let forbidden = selftest::forbidden_path(rules).ok_or(ConfineError::Untestable)?;
        let compiled = seccomp::compile(profile, mode)?;
        let files = landlock::restrict(rules, profile.connect_tcp)?;
        landlock_abi = files.abi;
        seccomp_applied = seccomp::apply(&compiled)?;
        let plan = selftest::Plan {
            file: files.files_enforced.then_some(forbidden),
            families: if seccomp_applied {
                closed_families(profile, mode)
            } else {
                Vec::new()
            },
            programs: seccomp_applied,
        };
        refuse(selftest::run(&plan))?;
    }
    // After the limits, since locked memory has one, and through the filter, which has to permit it.
    let holds_secrets = profile.sections.iter().any(|part| part.name == "secrets");
    let memory = holds_secrets.then(Backing::of_this_process);
    let now = report.as_ref().and_then(|file| Status::read(file).ok());
    Ok(Confinement::of(Found {
        landlock_abi,
        seccomp: now.map_or(seccomp_applied, |now| seccomp_applied && now.seccomp == 2),
        filters: now.map_or(0, |now| now.filters),
        no_new_privs: now.is_none_or(|now| now.no_new_privs),
        capabilities: now.is_some_and(|now| now.capabilities() != 0),
        dumpable,
        core_limit: getrlimit(Resource::Core).current.unwrap_or(u64::MAX),
        variables,
        strays,
        network: moved.network,
        memory,
        mapped: moved.mapped,
        measured: now.is_some(),
        filter: profile.filter,
        own_network: profile.own_network,
        sockets: mode == Mode::System,
        socket_lock,
    }))
}

/// Of the families that the self-test tries, those that the profile has no row for.
#[cfg(target_os = "linux")]
fn closed_families(profile: &Profile, mode: Mode) -> Vec<i32> {
    use crate::profile::Value;
    let open: Vec<u64> = profile
        .rows(mode)
        .filter(|row| row.call == "socket" && row.errno.is_none())
        .flat_map(|row| row.conditions)
        .filter_map(|condition| match condition.value {
            Value::Number(number) if condition.argument == 0 => Some(number),
            _ => None,
        })
        .collect();
    let tried = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    tried
        .into_iter()
        .filter(|family| !open.contains(&u64::from(family.unsigned_abs())))
        .collect()
}

/// Sets the limits; there is no further confinement on this system yet, and the result says so.
///
/// # Errors
/// See [`ConfineError`].
#[cfg(not(target_os = "linux"))]
pub fn confine(
    profile: &Profile,
    _mode: Mode,
    _rules: &[FileRule],
) -> Result<Confinement, ConfineError> {
    step("set limits", profile.limits().apply())?;
    let core = rustix::process::getrlimit(rustix::process::Resource::Core).current;
    Ok(Confinement::none(core.unwrap_or(u64::MAX)))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
