//! Memory that can be executed: code of one's own without a program.

use std::io;
use std::os::fd::AsRawFd as _;

use crate::answer::Answer;
use crate::listing::{Attempt, attempts};
use crate::sys::{call, done, fd, int, text};

const PAGE: usize = 4096;
const WRITE_EXEC: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;

fn map(protection: i32, flags: i32, descriptor: i32) -> io::Result<usize> {
    call(
        libc::SYS_mmap,
        &[0, PAGE, int(protection), int(flags), int(descriptor), 0],
    )
}

fn anonymous(protection: i32) -> io::Result<usize> {
    map(protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
}

fn protect(number: libc::c_long, protection: i32) -> Answer {
    let page = anonymous(libc::PROT_READ | libc::PROT_WRITE)?;
    done(number, &[page, PAGE, int(protection), int(-1)])
}

fn file(name: &std::ffi::CStr) -> io::Result<std::os::fd::OwnedFd> {
    fd(
        libc::SYS_openat,
        &[int(libc::AT_FDCWD), text(name), int(libc::O_RDONLY), 0],
    )
}

fn memfd() -> io::Result<std::os::fd::OwnedFd> {
    fd(
        libc::SYS_memfd_create,
        &[text(c"x"), int(libc::MFD_CLOEXEC)],
    )
}

fn shared(flags: i32) -> Answer {
    let segment = call(libc::SYS_shmget, &[int(libc::IPC_PRIVATE), PAGE, 0o700])?;
    let attached = call(libc::SYS_shmat, &[segment, 0, int(flags)]);
    done(libc::SYS_shmctl, &[segment, int(libc::IPC_RMID), 0])?;
    attached.map(|_| ())
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "memory.write-exec" => |_| anonymous(WRITE_EXEC).map(drop);
    "memory.exec" => |_| anonymous(libc::PROT_READ | libc::PROT_EXEC).map(drop);
    "memory.exec-shared" => |_| map(WRITE_EXEC, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1).map(drop);
    "memory.exec-file" => |_| {
        // Where the file cannot be opened the map itself is tried on the log pipe.
        let program = file(c"/bin/sh");
        let descriptor = program.as_ref().map_or(2, std::os::fd::AsRawFd::as_raw_fd);
        map(libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE, descriptor).map(drop)
    };
    "memory.protect-exec" => |_| protect(libc::SYS_mprotect, libc::PROT_READ | libc::PROT_EXEC);
    "memory.protect-write-exec" => |_| protect(libc::SYS_mprotect, WRITE_EXEC);
    "memory.protect-by-key" => |_| protect(libc::SYS_pkey_mprotect, WRITE_EXEC);
    "memory.file-in-memory" => |_| memfd().map(drop);
    "memory.file-in-memory-exec" => |_| {
        let made = memfd()?;
        done(libc::SYS_ftruncate, &[int(made.as_raw_fd()), PAGE])?;
        map(WRITE_EXEC, libc::MAP_SHARED, made.as_raw_fd()).map(drop)
    };
    "memory.shared" => |_| shared(0);
    "memory.shared-exec" => |_| shared(libc::SHM_EXEC);
    "memory.remap-file-pages" => |_| {
        let page = map(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)?;
        done(libc::SYS_remap_file_pages, &[page, PAGE, 0, 0, 0])
    };
    // Every readable page becomes executable.
    "memory.read-implies-exec" => |_| done(libc::SYS_personality, &[int(libc::READ_IMPLIES_EXEC)]);
    "memory.lock-all" => |_| done(libc::SYS_mlockall, &[int(libc::MCL_FUTURE)]);
    "memory.fault-handler" => |_| {
        // UFFD_USER_MODE_ONLY: what an ordinary user may.
        fd(libc::SYS_userfaultfd, &[int(libc::O_CLOEXEC | 1)]).map(drop)
    };
};
