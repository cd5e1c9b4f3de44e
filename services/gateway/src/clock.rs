//! The wall clock and the system's randomness; everything that decides gets them passed in.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clawdbot_identity::TurnId;

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A turn id that nobody else has.
///
/// # Errors
/// When the system gives no randomness.
pub fn turn_id() -> std::io::Result<TurnId> {
    TurnId::parse(&random_id()?).map_err(std::io::Error::other)
}

/// 128 random bits as 32 hexadecimal digits.
///
/// # Errors
/// When the system gives no randomness.
pub fn random_id() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
