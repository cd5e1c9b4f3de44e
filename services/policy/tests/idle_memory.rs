//! The memory of a password check is not kept. A test binary of its own, since it measures the whole process.
#![cfg(target_os = "linux")]

use clawdbot_policy::Password;
use clawdbot_secrets::Secret;

#[test]
fn password_checks_leave_no_memory_behind() {
    // Resident memory of this process, KiB.
    let resident = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let before = resident();
    let mut password =
        Password::new(Secret::new(b"correct horse battery".to_vec().into()).unwrap());
    for _ in 0..3 {
        assert!(password.is(b"correct horse battery", [1; 16]).unwrap());
    }
    let after = resident();
    assert!(
        after < before + 4 * 1024,
        "{before} KiB before, {after} KiB after"
    );
}
