//! Rows as a filter that is put in force for this process and all that it starts. Calls of a foreign
//! architecture pass: who simulates wants no protection.
#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::{seccomp_data, sock_filter, sock_fprog};

use crate::kernel::{Answer, Row};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const MASK: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// One instruction; `otherwise` is how many are passed over when a comparison fails.
fn line(code: u32, k: u32, otherwise: u8) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: 0,
        jf: otherwise,
        k,
    }
}

fn load(offset: usize) -> sock_filter {
    line(LOAD, u32::try_from(offset).unwrap_or(0), 0)
}

fn compile(rows: &[Row]) -> Vec<sock_filter> {
    let mut program = vec![
        load(offset_of!(seccomp_data, arch)),
        line(EQUAL, ARCHITECTURE, 1),
        line(libc::BPF_JMP | libc::BPF_JA, 1, 0),
        line(RETURN, libc::SECCOMP_RET_ALLOW, 0),
    ];
    for row in rows {
        let verdict = match row.answer {
            Answer::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno.unsigned_abs(),
            Answer::Ask => libc::SECCOMP_RET_USER_NOTIF,
        };
        let call = u32::try_from(row.call).unwrap_or(u32::MAX);
        program.push(load(offset_of!(seccomp_data, nr)));
        match row.only {
            None => program.push(line(EQUAL, call, 1)),
            Some((argument, mask, value)) => {
                // The lower half comes first on both architectures.
                let low = offset_of!(seccomp_data, args) + 8 * argument as usize;
                program.extend([
                    line(EQUAL, call, 4),
                    load(low),
                    line(MASK, mask, 0),
                    line(EQUAL, value, 1),
                ]);
            }
        }
        program.push(line(RETURN, verdict, 0));
    }
    program.push(line(RETURN, libc::SECCOMP_RET_ALLOW, 0));
    program
}

/// Puts the rows in force. The descriptor on which questions arrive, if a row asks any.
///
/// # Errors
/// The kernel's answer.
pub(crate) fn apply(rows: &[Row]) -> io::Result<Option<OwnedFd>> {
    let mut program = compile(rows);
    let asks = rows.iter().any(|row| row.answer == Answer::Ask);
    let flags = if asks {
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
    } else {
        0
    };
    let filter = sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: `filter` and the program that it points to outlive the call, which copies them.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const filter,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    if !asks {
        return Ok(None);
    }
    let raw = RawFd::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: with this flag the kernel answers with a descriptor that it has just made.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(raw) }))
}
