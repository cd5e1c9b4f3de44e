//! Hands bytes of libFuzzer's choice to the target that `CLAWDBOT_FUZZ` names. Built and run by `cargo xtask fuzz`.
#![no_main]

use std::sync::LazyLock;

use clawdbot_fuzz::{Target, target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("CLAWDBOT_FUZZ").unwrap_or_default();
    target(&name).expect("CLAWDBOT_FUZZ names a target")
});

fuzz_target!(|bytes: &[u8]| {
    (TARGET.run)(bytes);
});
