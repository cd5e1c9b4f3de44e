//! The kernel's insides, and what is the machine's and not the process's. Attempts that would stop the
//! machine ask for nonsense: the refusal of the nonsense means that the permission was there.

use crate::answer::{Answer, reached};
use crate::listing::{Attempt, attempts};
use crate::sys::{at, at_mut, call, done, fd, int, text};
use crate::world::World;

/// A ring for this process alone.
fn queue(world: &World) -> Answer {
    let name = crate::sys::path(&format!("clawdbot-{}", std::process::id()))?;
    let flags = int(libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC);
    fd(libc::SYS_mq_open, &[text(&name), flags, 0o600, 0])?;
    if world.free {
        done(libc::SYS_mq_unlink, &[text(&name)])?;
    }
    Ok(())
}

fn ioctl(number: u64, argument: usize) -> Answer {
    done(libc::SYS_ioctl, &[2, number as usize, argument])
}

/// A terminal of its own where one can be had, else the log pipe: only the call counts.
fn terminal(world: &World, number: u64, argument: usize) -> Answer {
    let open = [
        int(libc::AT_FDCWD),
        text(c"/dev/ptmx"),
        int(libc::O_RDWR | libc::O_NOCTTY),
        0,
    ];
    let descriptor = match world.free {
        true => call(libc::SYS_openat, &open)?,
        false => 2,
    };
    done(libc::SYS_ioctl, &[descriptor, number as usize, argument])
}

/// Nanoseconds of a clock.
fn read_clock(clock: i32) -> std::io::Result<i64> {
    let mut now = [0_i64; 2];
    done(libc::SYS_clock_gettime, &[int(clock), at_mut(&mut now)])?;
    Ok(now[0] * 1_000_000_000 + now[1])
}

/// Sets the time to what it is. What was lost between the question and the call is given back.
fn clock() -> Answer {
    let (real, monotonic) = (
        read_clock(libc::CLOCK_REALTIME)?,
        read_clock(libc::CLOCK_MONOTONIC)?,
    );
    let now = [real / 1_000_000_000, real % 1_000_000_000];
    done(
        libc::SYS_clock_settime,
        &[int(libc::CLOCK_REALTIME), at(&now)],
    )?;
    let passed = read_clock(libc::CLOCK_MONOTONIC)? - monotonic;
    let lost = real + passed - read_clock(libc::CLOCK_REALTIME)?;
    adjust(lost)
}

/// ADJ_SETOFFSET by so many nanoseconds.
fn adjust(by: i64) -> Answer {
    let mut timex = [0_i64; 40];
    timex[0] = 0x2100;
    timex[9] = by.div_euclid(1_000_000_000);
    timex[10] = by.rem_euclid(1_000_000_000);
    done(
        libc::SYS_clock_adjtime,
        &[int(libc::CLOCK_REALTIME), at(&timex)],
    )
}

fn ipc(get: libc::c_long, argument: usize, control: libc::c_long, world: &World) -> Answer {
    // Queues take their mode where the others take a size.
    let id = match get {
        libc::SYS_msgget => call(get, &[int(libc::IPC_PRIVATE), 0o600])?,
        _ => call(get, &[int(libc::IPC_PRIVATE), argument, 0o600])?,
    };
    if world.free {
        let command = int(libc::IPC_RMID);
        let arguments = match get {
            libc::SYS_semget => [id, 0, command, 0],
            _ => [id, command, 0, 0],
        };
        done(control, &arguments)?;
    }
    Ok(())
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "kernel.key" => |_| {
        // KEYCTL_GET_KEYRING_ID of the session's.
        done(libc::SYS_keyctl, &[0, int(-3), 0])
    };
    "kernel.key-add" => |_| {
        done(libc::SYS_add_key, &[text(c"user"), text(c"clawdbot"), at(b"x"), 1, int(-2)])
    };
    "kernel.key-request" => |_| {
        let asked = call(libc::SYS_request_key, &[text(c"user"), text(c"clawdbot-none"), 0, 0]);
        reached(asked, &[libc::ENOKEY])
    };
    "kernel.bpf" => |_| {
        // An array of one value.
        let map = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fd(libc::SYS_bpf, &[0, at(&map), size_of_val(&map)]).map(drop)
    };
    "kernel.io-ring" => |_| {
        let mut parameters = [0_u32; 30];
        fd(libc::SYS_io_uring_setup, &[1, at_mut(&mut parameters)]).map(drop)
    };
    "kernel.io-ring-enter" => |w| {
        let mut parameters = [0_u32; 30];
        let ring = if w.free { call(libc::SYS_io_uring_setup, &[1, at_mut(&mut parameters)])? } else { 2 };
        done(libc::SYS_io_uring_enter, &[ring, 0, 0, 0, 0, 0])
    };
    "kernel.io-queue" => |_| {
        let mut context = 0_usize;
        done(libc::SYS_io_setup, &[1, at_mut(&mut context)])
    };
    "kernel.perf" => |_| {
        let mut event = [0_u32; 32];
        // PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE_VER0.
        event[0] = 1;
        event[1] = 64;
        fd(libc::SYS_perf_event_open, &[at(&event), 0, int(-1), int(-1), 0]).map(drop)
    };
    "kernel.module" => |_| {
        let asked = call(libc::SYS_init_module, &[0, 0, text(c"")]);
        reached(asked, &[libc::ENOEXEC, libc::EFAULT, libc::EINVAL])
    };
    "kernel.module-file" => |_| {
        let asked = call(libc::SYS_finit_module, &[int(-1), text(c""), 0]);
        reached(asked, &[libc::EBADF, libc::ENOEXEC, libc::EINVAL])
    };
    "kernel.module-remove" => |_| {
        let asked = call(libc::SYS_delete_module, &[text(c"clawdbot_none"), int(libc::O_NONBLOCK)]);
        reached(asked, &[libc::ENOENT])
    };
    "kernel.boot-another" => |_| {
        let asked = call(libc::SYS_kexec_load, &[0, 1, 0, 0x8000]);
        reached(asked, &[libc::EINVAL, libc::EFAULT])
    };
    "kernel.boot-another-file" => |_| {
        let asked = call(320, &[int(-1), int(-1), 0, 0, 0x8000]);
        reached(asked, &[libc::EINVAL, libc::EBADF])
    };
    "kernel.restart" => |_| {
        // Without the numbers that mean it.
        reached(call(libc::SYS_reboot, &[0, 0, 0, 0]), &[libc::EINVAL])
    };
    "kernel.swap-on" => |_| {
        reached(call(libc::SYS_swapon, &[text(c"/clawdbot-none"), 0]), &[libc::ENOENT])
    };
    "kernel.swap-off" => |_| {
        reached(call(libc::SYS_swapoff, &[text(c"/clawdbot-none")]), &[libc::ENOENT])
    };
    "kernel.accounting" => |_| {
        reached(call(libc::SYS_acct, &[text(c"/clawdbot-none")]), &[libc::ENOENT])
    };
    "kernel.quota" => |_| done(libc::SYS_quotactl, &[0x8000_0100, 0, 0, 0]);
    "kernel.clock" => |_| clock();
    "kernel.time" => |_| done(libc::SYS_settimeofday, &[0, 0]);
    "kernel.clock-adjust" => |_| adjust(0);
    // Of a length that no name has.
    "kernel.host-name" => |_| {
        reached(call(libc::SYS_sethostname, &[at(b"x"), int(-1)]), &[libc::EINVAL])
    };
    "kernel.domain-name" => |_| {
        reached(call(libc::SYS_setdomainname, &[at(b"x"), int(-1)]), &[libc::EINVAL])
    };
    "kernel.log" => |_| {
        let mut text = [0_u8; 16];
        done(libc::SYS_syslog, &[3, at_mut(&mut text), text.len()])
    };
    "kernel.hang-up" => |_| done(libc::SYS_vhangup, &[]);
    "kernel.shared-memory" => |w| ipc(libc::SYS_shmget, 4096, libc::SYS_shmctl, w);
    "kernel.semaphore" => |w| ipc(libc::SYS_semget, 1, libc::SYS_semctl, w);
    "kernel.message-queue" => |w| ipc(libc::SYS_msgget, 0, libc::SYS_msgctl, w);
    "kernel.posix-queue" => queue;
    "kernel.type-into-terminal" => |w| terminal(w, libc::TIOCSTI, at(b"x"));
    "kernel.take-terminal" => |w| terminal(w, libc::TIOCSCTTY, 0);
    "kernel.select-text" => |w| {
        // TIOCLINUX, TIOCL_GETSHIFTSTATE; what is no console says so.
        reached(terminal(w, 0x541c, at(&[6_u8; 2])).map(|()| 0), &[libc::ENOTTY])
    };
    "kernel.descriptor-question" => |_| {
        let mut waiting = 0_i32;
        ioctl(libc::FIONREAD, at_mut(&mut waiting))
    };
    "kernel.signal-on-io" => |_| {
        // FIOASYNC off.
        ioctl(0x5452, at(&0_i32))
    };
    "kernel.timer" => |_| {
        let mut timer = 0_i32;
        done(libc::SYS_timer_create, &[int(libc::CLOCK_MONOTONIC), 0, at_mut(&mut timer)])
    };
    "kernel.security-attribute" => |_| {
        // lsm_list_modules.
        let (mut ids, mut size) = ([0_u64; 32], 256_u32);
        done(461, &[at_mut(&mut ids), at_mut(&mut size), 0])
    };
    "kernel.unknown-call" => |_| done(4095, &[]);
    "kernel.newest-call" => |_| {
        // file_getattr, newer than every list that was weighed.
        let mut attributes = [0_u64; 4];
        let arguments = [int(libc::AT_FDCWD), text(c"/"), at_mut(&mut attributes), 24, 0];
        reached(call(468, &arguments), &[libc::EOPNOTSUPP, libc::ENOTTY])
    };
};
