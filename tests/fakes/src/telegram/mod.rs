//! A Bot API server for tests, written to the documented wire behaviour: updates are kept until a higher offset confirms
//! them (24 hours at most), polls are held, a second poller ends the first, texts are checked as Telegram checks them. It
//! can be told to misbehave.

mod bot;
mod control;
mod html;
mod methods;
mod server;

pub use bot::{Bot, Fault, Sent};
pub use control::serve_control;
pub use html::{Parsed, parse as parse_html};
pub use server::Telegram;
