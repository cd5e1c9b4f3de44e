//! What all channel workers share. A worker brings a [`Outlet`] (how its platform is spoken to) and its own way in; from
//! here come delivery with its three-valued results, the in-flight journal, pace and pauses, and Markdown made ready for
//! any chat.

mod backoff;
mod health;
mod inbound;
mod journal;
mod lanes;
mod leases;
mod ledger;
mod markdown;
mod marked;
mod outbound;
mod outlet;
mod rates;
mod sending;

pub use backoff::{Backoff, Pauses, random};
pub use health::Health;
pub use inbound::{Credit, deliver};
pub use journal::{Damage, Journal, JournalError, replay};
pub use leases::{Lease, Leased, follow_leases};
pub use ledger::{Ledger, PartState, Record};
pub use markdown::parse_markdown;
pub use marked::{Chunking, Marked, Piece, Span, Style, utf16_len, utf16_to_byte};
pub use outbound::Outbound;
pub use outlet::{Outcome, Outlet, Part, Rejected, Shown};
pub use rates::{Limiter, Quota};
