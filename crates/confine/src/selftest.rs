//! Tries what must be forbidden, once the confinement is in force: a way out of an empty network, a
//! file outside the rules, sockets of other families, another program, executable memory. Whatever
//! works is a reason not to start.
#![allow(unsafe_code)]

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use crate::landlock::FileRule;

/// Files that every system lets everybody read.
const CANDIDATES: &[&str] = &["/etc/passwd", "/etc/group", "/proc/self/status", "/"];

/// Stands for the rest of the world.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What is tried, chosen while it still works.
#[derive(Debug, Default)]
pub struct Plan {
    /// A readable path outside all rules; `None` where landlock is not in force.
    pub file: Option<PathBuf>,
    /// Families (`AF_...`) that no socket may be made of; empty where no filter is in force.
    pub families: Vec<i32>,
    /// Exec and executable memory are to be refused.
    pub programs: bool,
}

/// A path that can be read now and that no rule covers: the positive control of the first attempt.
pub fn forbidden_path(rules: &[FileRule]) -> Option<PathBuf> {
    let covered: Vec<PathBuf> = rules.iter().filter_map(FileRule::resolved).collect();
    CANDIDATES
        .iter()
        .map(Path::new)
        .map(Path::to_owned)
        .find(|candidate| {
            let real = std::fs::canonicalize(candidate).unwrap_or_else(|_| candidate.clone());
            !covered.iter().any(|path| real.starts_with(path)) && File::open(candidate).is_ok()
        })
}

/// Tries to find a way out of a network that is to be empty, while there are sockets: to itself, where
/// the loopback is to be down, and to an address that no network has for its own (RFC 5737). Nothing is
/// sent. Names what worked; must be empty.
pub fn network(loopback: bool) -> Vec<String> {
    let tried = [(Ipv4Addr::LOCALHOST, loopback), (ELSEWHERE, true)];
    tried
        .into_iter()
        .filter(|(address, tried)| *tried && has_route(*address))
        .map(|(address, _)| format!("a route to {address}"))
        .collect()
}

fn has_route(address: Ipv4Addr) -> bool {
    // The discard port. A socket that cannot even be made has no route.
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).is_ok_and(|s| s.connect((address, 9)).is_ok())
}

/// Tries everything in the plan and names what worked; must be empty.
pub fn run(plan: &Plan) -> Vec<String> {
    let mut worked = Vec::new();
    if let Some(path) = &plan.file
        && File::open(path).is_ok()
    {
        worked.push(format!("open {}", path.display()));
    }
    for family in &plan.families {
        // SAFETY: no memory is passed; a descriptor that is made is closed below.
        let raw = unsafe { libc::socket(*family, libc::SOCK_STREAM, 0) };
        let error = std::io::Error::last_os_error().raw_os_error();
        if raw >= 0 {
            // SAFETY: the descriptor was made above and nobody else knows it.
            unsafe { libc::close(raw) };
        }
        // A family that this kernel lacks is not our filter's answer.
        if raw >= 0 || error != Some(libc::EPERM) {
            worked.push(format!("socket of family {family}"));
        }
    }
    if plan.programs {
        worked.extend(try_programs());
    }
    worked
}

fn try_programs() -> Vec<String> {
    let mut worked = Vec::new();
    // An empty path cannot be executed: without a filter the answer is ENOENT, so that a hole shows
    // without this process being replaced.
    // SAFETY: the three arguments are NUL-terminated strings and arrays that outlive the call.
    let error = unsafe {
        let none: [*const libc::c_char; 1] = [std::ptr::null()];
        libc::execve(c"".as_ptr(), none.as_ptr(), none.as_ptr());
        std::io::Error::last_os_error().raw_os_error()
    };
    if error != Some(libc::EPERM) {
        worked.push("execve".to_owned());
    }
    let length = rustix::param::page_size();
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing else; it is
    // taken away again.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let address = libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0);
        if address != libc::MAP_FAILED {
            libc::munmap(address, length);
            worked.push("executable memory".to_owned());
        }
    }
    worked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::landlock::Access;

    #[test]
    fn without_confinement_every_attempt_is_reported() {
        let plan = Plan {
            file: forbidden_path(&[]),
            families: vec![libc::AF_INET, libc::AF_UNIX],
            programs: true,
        };
        let worked = run(&plan);
        assert_eq!(worked.len(), 5, "{worked:?}");
        assert_eq!(run(&Plan::default()), Vec::<String>::new());
    }

    #[test]
    fn a_network_with_a_loopback_is_not_taken_for_an_empty_one() {
        assert!(network(true).contains(&"a route to 127.0.0.1".to_owned()));
        assert!(!network(false).contains(&"a route to 127.0.0.1".to_owned()));
    }

    #[test]
    fn a_path_that_a_rule_covers_is_not_the_forbidden_one() {
        assert_eq!(forbidden_path(&[]).unwrap(), Path::new("/etc/passwd"));
        let rules = [FileRule::path("/etc", Access::ReadDir)];
        assert!(!forbidden_path(&rules).unwrap().starts_with("/etc"));
        let rules = [FileRule::open(
            File::open("/").unwrap().into(),
            Access::ReadDir,
        )];
        assert_eq!(forbidden_path(&rules), None);
    }
}
