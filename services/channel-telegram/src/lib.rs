//! The Telegram channel process.
