//! What the kernel of this machine offers and knows, for whoever looks from outside of all confinement.

/// The newest landlock ABI that the kernel has; 0 where there is none.
#[must_use]
pub fn landlock_abi() -> u8 {
    sys::landlock_abi()
}

/// Whether something keeps the clock in step with others; nothing where the kernel does not tell.
#[must_use]
pub fn clock_is_synchronised() -> Option<bool> {
    sys::clock_is_synchronised()
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod sys {
    /// LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h.
    const VERSION: libc::c_uint = 1;

    pub(super) fn landlock_abi() -> u8 {
        let none = std::ptr::null::<libc::c_void>();
        let number = libc::SYS_landlock_create_ruleset;
        // SAFETY: with this flag the call takes no rules, makes no descriptor and only answers a number.
        let answer = unsafe { libc::syscall(number, none, 0_usize, VERSION) };
        u8::try_from(answer).unwrap_or(0)
    }

    pub(super) fn clock_is_synchronised() -> Option<bool> {
        // SAFETY: all zero is a valid `timex`: numbers only, and modes = 0 asks without setting anything.
        let (answer, state) = unsafe {
            let mut state: libc::timex = std::mem::zeroed();
            (libc::adjtimex(&raw mut state), state)
        };
        (answer >= 0).then_some(answer != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    pub(super) fn landlock_abi() -> u8 {
        0
    }

    pub(super) fn clock_is_synchronised() -> Option<bool> {
        None
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_abi_is_the_one_that_rules_come_into_force_with() {
        let named = |line: &str| line.contains("landlock");
        let offered = std::fs::read_to_string("/sys/kernel/security/lsm");
        if let Ok(lsm) = offered {
            assert_eq!(landlock_abi() > 0, named(&lsm));
        }
        assert!(landlock_abi() < 100);
    }

    #[test]
    fn the_clock_is_asked_without_a_right() {
        assert!(clock_is_synchronised().is_some());
    }
}
