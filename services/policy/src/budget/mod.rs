//! What a session may still use: tokens, money, calls of tools, time. What a request may use is held back before it runs,
//! so that many at once cannot spend the same rest, and what it did use is counted when it is over.

mod book;
mod calendar;
mod kinds;
mod page;
mod store;

#[cfg(test)]
mod tests;

pub(crate) use kinds::{Kind, Limit, Limits};
pub(crate) use store::{Budgets, Told, Who};
