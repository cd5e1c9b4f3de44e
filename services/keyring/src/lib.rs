//! The helper that fetches the vault key.
