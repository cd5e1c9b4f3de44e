//! Stand-ins for services that cannot be had: Telegram and model providers.

pub mod provider;
pub mod telegram;
