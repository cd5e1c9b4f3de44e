//! The filters of another process, as the kernel holds them. Needs root; the process is stopped for a moment, and refused is
//! whatever does not stop.
#![allow(unsafe_code)]

use std::io;

/// One instruction of a filter (struct sock_filter).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How far it jumps when it is true.
    pub jt: u8,
    /// How far it jumps when it is false.
    pub jf: u8,
    /// Its constant.
    pub k: u32,
}

/// Gives one program (Linux 4.4; linux/ptrace.h).
const GET_FILTER: libc::c_uint = 0x420c;
/// Longest program (BPF_MAXINSNS).
const LONGEST: usize = 4096;

/// The programs of a process, in the order in which they were applied.
///
/// # Errors
/// Whatever the kernel answers; EACCES and EPERM to whoever is not root.
pub fn of_process(pid: i32) -> io::Result<Vec<Vec<Instruction>>> {
    // SAFETY: no memory is passed. The process goes on when it is let go of, or when this one ends.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) })?;
    let programs = stopped(pid);
    // SAFETY: as above.
    check(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) })?;
    programs
}

fn stopped(pid: i32) -> io::Result<Vec<Vec<Instruction>>> {
    // SAFETY: no memory is passed but the status, which is ours.
    unsafe {
        check(libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0))?;
        let mut status = 0;
        check(libc::waitpid(pid, &raw mut status, libc::__WALL).into())?;
        if !libc::WIFSTOPPED(status) {
            return Err(io::Error::other("the process has ended"));
        }
    }
    let mut programs = Vec::new();
    while let Some(program) = program(pid, programs.len())? {
        programs.push(program);
    }
    Ok(programs)
}

fn program(pid: i32, number: usize) -> io::Result<Option<Vec<Instruction>>> {
    let empty = libc::sock_filter {
        code: 0,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let mut steps = vec![empty; LONGEST];
    // SAFETY: the kernel writes at most BPF_MAXINSNS instructions, for which there is room.
    let length = unsafe { libc::ptrace(GET_FILTER, pid, number, steps.as_mut_ptr()) };
    match check(length) {
        Ok(length) => {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            let steps = steps.iter().take(length).map(|step| Instruction {
                code: step.code,
                jt: step.jt,
                jf: step.jf,
                k: step.k,
            });
            Ok(Some(steps.collect()))
        }
        // No further one; EINVAL: none at all.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}
