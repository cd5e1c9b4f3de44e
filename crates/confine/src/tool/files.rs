//! The files of the box: the system's programs to read and run, a few of its tables to read, the
//! harmless devices, and the workspace. No /proc, no /home, no /tmp, no /run.

use std::os::fd::{AsFd, BorrowedFd};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

use super::ToolError;

/// The newest one that the rules below were written for; a kernel with less gives what it has.
const NEWEST: ABI = ABI::V7;

/// Programs and their libraries; a link is followed, one that is missing is left out.
const PROGRAMS: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
];

/// What the C library and the shell look at: libraries, names of users, the time zone.
const TABLES: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];

const SINKS: &[&str] = &["/dev/null", "/dev/full"];

/// Closes all files but these to this thread and what it starts.
pub(super) fn restrict(workspace: BorrowedFd<'_>) -> Result<(), ToolError> {
    let failed = |error: &dyn ToString| ToolError::Files(error.to_string());
    let run = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});
    let work = make_bitflags!(AccessFs::{
        Execute | ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSym | MakeFifo
        | RemoveFile | RemoveDir | Refer
    });
    let read = make_bitflags!(AccessFs::{ReadFile});
    let sink = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});
    let mut rules: Vec<(PathFd, BitFlags<AccessFs>)> = Vec::new();
    for (paths, rights) in [(PROGRAMS, run), (TABLES, read), (SINKS, sink)] {
        // Missing, or not for this user: nothing is permitted.
        rules.extend(
            paths
                .iter()
                .filter_map(|path| Some((PathFd::new(path).ok()?, rights))),
        );
    }
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(workspace, work)))
        .map_err(|e| failed(&e))?;
    for (path, rights) in &rules {
        ruleset = ruleset
            .add_rule(PathBeneath::new(path.as_fd(), *rights))
            .map_err(|e| failed(&e))?;
    }
    let status = ruleset.restrict_self().map_err(|e| failed(&e))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(failed(
            &"this kernel has no landlock (Linux 5.13 or later, with landlock among its lsm=)",
        ));
    }
    Ok(())
}
