//! What a process is and gives up before it works: identity, capabilities, environment, limits.
//! Refuses to run as root or with a capability left, since every later boundary assumes neither.

mod drop;
mod identity;
mod status;

pub use drop::{DropError, User, drop_to, lookup_user};
#[cfg(target_os = "linux")]
pub(crate) use identity::give_up_all_capabilities;
pub use identity::{IdentityError, assert_identity};
pub use status::Status;

use std::ffi::c_char;
#[cfg(target_os = "linux")]
use std::io;

/// Shows every entry of the environment, `NAME=value`, where it lies, without a copy.
///
/// Call it before the process has a second thread.
#[allow(unsafe_code)]
pub fn env_visit(mut each: impl FnMut(&[u8])) {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: `environ` is null or a list that ends with null, of strings that end with NUL; the
    // process has one thread (contract), so nobody changes it meanwhile.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            each(std::ffi::CStr::from_ptr(*entry).to_bytes());
            entry = entry.add(1);
        }
    }
}

/// Removes every environment variable and overwrites its text where it lies: the memory that the
/// kernel shows as `/proc/PID/environ` holds nothing afterwards.
///
/// Call it before the process has a second thread.
#[allow(unsafe_code)]
pub fn env_wipe() {
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    // SAFETY: `environ` is null or a list that ends with null, of strings that end with NUL in memory
    // that is writable and lives as long as the process; the process has one thread (contract), so
    // nobody reads them meanwhile, and nobody finds them afterwards.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let mut byte = *entry;
            while *byte != 0 {
                std::ptr::write_volatile(byte, 0);
                byte = byte.add(1);
            }
            entry = entry.add(1);
        }
        environ = std::ptr::null_mut();
    }
}

/// Makes the process unreadable for others of its uid: no ptrace, no `/proc/PID/mem`, `environ` or
/// `fd`, no core file. Exec with other credentials resets it, so each process does it itself.
///
/// # Errors
/// The kernel's answer.
#[cfg(target_os = "linux")]
pub fn not_dumpable() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// No exec can give privileges from here on, for this process and all that come from it.
///
/// # Errors
/// The kernel's answer.
#[cfg(target_os = "linux")]
pub fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// The kernel kills this process when `parent` (a process id) dies.
///
/// # Errors
/// `NotFound` when the parent is already gone; the kernel's answer otherwise.
#[cfg(target_os = "linux")]
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before the call above; then nobody sends the signal.
    let now = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now == Some(parent) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("the parent process {parent} is gone"),
    ))
}

/// Names the process in `ps` and in kernel messages; a program started through a descriptor has a
/// number for a name. At most 15 bytes are kept.
///
/// # Errors
/// `InvalidInput` for a name with a NUL byte; the kernel's answer otherwise.
#[cfg(target_os = "linux")]
pub fn set_name(name: &str) -> io::Result<()> {
    let short: Vec<u8> = name.bytes().take(15).collect();
    let short = std::ffi::CString::new(short).map_err(io::Error::from)?;
    Ok(rustix::thread::set_name(&short)?)
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    //! Not there outside Linux; the measured level is `none` and says so.
    use std::io;

    /// Does nothing here.
    ///
    /// # Errors
    /// None.
    pub fn not_dumpable() -> io::Result<()> {
        Ok(())
    }

    /// Does nothing here.
    ///
    /// # Errors
    /// None.
    pub fn no_new_privs() -> io::Result<()> {
        Ok(())
    }

    /// Does nothing here: the control descriptor's end tells that the parent is gone.
    ///
    /// # Errors
    /// None.
    pub fn die_with_parent(_parent: u32) -> io::Result<()> {
        Ok(())
    }

    /// Does nothing here.
    ///
    /// # Errors
    /// None.
    pub fn set_name(_name: &str) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{die_with_parent, no_new_privs, not_dumpable, set_name};

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::test_child::in_child;

    #[test]
    fn no_variable_stays_not_even_its_text() {
        let status = in_child(|| {
            let mut seen = Vec::new();
            env_visit(|entry| seen.push(entry.to_vec()));
            assert!(seen.iter().any(|entry| entry.starts_with(b"PATH=")));
            assert!(
                std::fs::read("/proc/self/environ")
                    .unwrap()
                    .iter()
                    .any(|byte| *byte != 0)
            );
            env_wipe();
            let left = std::fs::read("/proc/self/environ").unwrap();
            assert_eq!(std::env::var_os("PATH"), None);
            i32::from(std::env::vars_os().count() != 0 || left.iter().any(|byte| *byte != 0))
        });
        assert_eq!(status.exit(), 0);
    }

    #[test]
    fn a_process_that_is_not_dumpable_hides_its_environment() {
        let status = in_child(|| {
            not_dumpable().unwrap();
            i32::from(
                rustix::process::dumpable_behavior().unwrap()
                    != rustix::process::DumpableBehavior::NotDumpable,
            )
        });
        assert_eq!(status.exit(), 0);
    }

    #[test]
    fn a_parent_that_is_gone_is_noticed() {
        let parent = std::process::id();
        assert_eq!(
            in_child(|| i32::from(die_with_parent(parent).is_err())).exit(),
            0
        );
        assert_eq!(
            in_child(|| i32::from(die_with_parent(parent + 1).is_ok())).exit(),
            0
        );
    }
}
