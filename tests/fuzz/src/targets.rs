//! The table of targets. Its names are those of the folders below `corpus/`.

use crate::{
    answers, bodies, config, dialer, frames, markdown, messages, names, records, telegram,
    transcript, vault,
};

/// One function that takes any bytes.
pub struct Target {
    /// Its name, and its folder's.
    pub name: &'static str,
    /// Whether the parser took the bytes. It panics where a promise is broken.
    pub run: fn(&[u8]) -> bool,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    row("json5", config::json5),
    row("config", config::settings),
    row("records", records::records),
    row("answers", answers::answers),
    row("refusals", answers::refusal),
    row("telegram", telegram::updates),
    row("frames", frames::frames),
    row("messages", messages::messages),
    row("bodies", bodies::bodies),
    row("websocket", bodies::frame),
    row("json", bodies::json),
    row("transcript", transcript::transcript),
    row("journal", transcript::journal),
    row("markdown", markdown::markdown),
    row("words", names::words),
    row("resolv", dialer::files),
    row("dns", dialer::answer),
    row("vault", vault::vault),
];

const fn row(name: &'static str, run: fn(&[u8]) -> bool) -> Target {
    Target { name, run }
}

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
