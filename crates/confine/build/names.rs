//! The names that rows may use: system calls with their numbers on both architectures, constants, and
//! what is the nearest to a name that is none.

use syscalls::{aarch64, x86_64};

macro_rules! constants {
    ($($name:ident = $value:expr,)*) => {
        &[$((stringify!($name), $value)),*]
    };
}

/// Constants by name.
const CONSTANTS: &[(&str, u64)] = include!("constants.rs");

/// Names of the kernel's tables that C libraries and everybody else call otherwise.
const ALIASES: &[(&str, &str)] = &[("newfstatat", "fstatat")];

/// Calls that only x86_64 has, and by which aarch64's C library does the same.
const STAND_INS: &[(&str, &str)] = &[
    ("access", "faccessat"),
    ("chmod", "fchmodat"),
    ("epoll_wait", "epoll_pwait"),
    ("lstat", "newfstatat"),
    ("mkdir", "mkdirat"),
    ("poll", "ppoll"),
    ("readlink", "readlinkat"),
    ("rename", "renameat"),
    ("rmdir", "unlinkat"),
    ("stat", "newfstatat"),
    ("unlink", "unlinkat"),
];

/// A call's numbers on x86_64 and aarch64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) x86_64: Option<i32>,
    pub(super) aarch64: Option<i32>,
}

pub(super) fn call(name: &str) -> Result<Numbers, String> {
    let alias = ALIASES.iter().find(|(ours, _)| *ours == name);
    let on_arm = alias.map_or(name, |(_, theirs)| theirs);
    let numbers = Numbers {
        x86_64: name.parse().ok().map(|call: x86_64::Sysno| call.id()),
        aarch64: on_arm.parse().ok().map(|call: aarch64::Sysno| call.id()),
    };
    if numbers.x86_64.or(numbers.aarch64).is_some() {
        return Ok(numbers);
    }
    let known = x86_64::Sysno::iter().map(|call| call.name());
    Err(unknown("system call", name, known))
}

/// The call that does on aarch64 what this one does on x86_64.
pub(super) fn stand_in(call: &str) -> Option<&'static str> {
    let row = STAND_INS.iter().find(|(only, _)| *only == call);
    row.map(|(_, stand_in)| *stand_in)
}

pub(super) fn constant(name: &str) -> Result<u64, String> {
    let row = CONSTANTS.iter().find(|(known, _)| *known == name);
    row.map(|(_, value)| *value).ok_or_else(|| {
        let known = CONSTANTS.iter().map(|(known, _)| *known);
        unknown("constant", name, known)
    })
}

/// What is said of a name that is none, with the nearest of those that are.
pub(super) fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known
        .map(|known| (strsim::osa_distance(known, name), known))
        .min()
        .map(|(_, nearest)| format!("; the nearest known one is `{nearest}`"));
    format!("unknown {kind} `{name}`{}", nearest.unwrap_or_default())
}
