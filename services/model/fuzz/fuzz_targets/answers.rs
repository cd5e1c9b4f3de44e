//! Reads any bytes as an answer in each protocol. Run with `cargo +nightly fuzz run answers` in services/model.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _complete = clawdbot_model::read_answers(bytes);
});
