//! `clawdbot-attempt`: what makes attempts outside of a service. As a control it first becomes what the
//! control is to be; as the neighbour it is what others attack.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::plan::Plan;
use crate::sys::{at, done, int};

/// Exit status when a user namespace of its own is not to be had.
const NO_NAMESPACE: u8 = 3;

/// The whole life of the program. `attempt PLAN`, `attempt userns PLAN`, or `attempt neighbour FILE`.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["neighbour", file] => neighbour(Path::new(file)),
        ["userns", plan] => match enter_namespaces() {
            Ok(()) => run(Path::new(plan)),
            Err(error) => {
                eprintln_line(&format!("no namespace {error}"));
                return ExitCode::from(NO_NAMESPACE);
            }
        },
        [plan] => run(Path::new(plan)),
        _ => Err(io::Error::other(
            "attempt [userns] PLAN | attempt neighbour FILE",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln_line(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn eprintln_line(line: &str) {
    let _unheard = writeln!(io::stderr(), "{line}");
}

fn run(plan: &Path) -> io::Result<()> {
    let plan = Plan::read(plan)?;
    if plan.world.free {
        // No terminal of the tester's is hung up or taken.
        let _leads_already = done(libc::SYS_setsid, &[]);
    }
    plan.run();
    Ok(())
}

/// Root of a user namespace, with a namespace of every other kind that is then its own.
fn enter_namespaces() -> io::Result<()> {
    let (user, group) = (id(libc::SYS_geteuid)?, id(libc::SYS_getegid)?);
    let all = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    done(libc::SYS_unshare, &[int(all)])?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

fn id(number: libc::c_long) -> io::Result<usize> {
    crate::sys::call(number, &[])
}

/// Something in memory that others would like to read.
static CANARY: [u8; 16] = *b"neighbour-canary";

/// Lets itself be traced, says where its canary and its open file are, and waits until its input ends.
fn neighbour(file: &Path) -> io::Result<()> {
    // Where Yama lets only parents trace. Elsewhere there is no such call.
    let _anybody = done(
        libc::SYS_prctl,
        &[int(libc::PR_SET_PTRACER), usize::MAX, 0, 0, 0],
    );
    let opened = std::fs::File::open(file)?;
    // On the heap: pages that are written, too.
    let canary = CANARY.to_vec();
    let facts = format!(
        "{} {} {}\n",
        std::process::id(),
        at(canary.as_slice()),
        std::os::fd::AsRawFd::as_raw_fd(&opened)
    );
    io::stdout().write_all(facts.as_bytes())?;
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop((opened, canary));
    Ok(())
}
