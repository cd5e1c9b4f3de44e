//! Pairing: strangers who ask, people whom the owner approved of, and names that are pinned to them. The book decides,
//! the store keeps it on disk.

mod book;
mod herald;
mod page;
mod store;
mod words;

pub(crate) use book::{Approved, Asked, Book, Pending, Request, Row, TTL_MS, code};
pub(crate) use herald::Herald;
pub(crate) use store::Store;
pub(crate) use words::{WELCOME, answer, hint, makes_owner, notice, owner_first};
