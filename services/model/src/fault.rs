//! Why a request brought no answer, in one place: what kind of trouble, whether another try may help, and the sentence
//! for a person with the remedy. What a provider wrote goes through here before anybody sees it: blanked of every leased
//! secret first, then made one harmless line, then cut, in this order, so that no half of a key survives the cut.

mod classify;
mod say;

use std::time::Duration;

use clawdbot_proto::v1::ModelErrorClass;

pub use classify::{is_page, of_answer, of_event};
pub use say::{Place, say};

/// One kind of trouble; each has its own sentence and remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No key is there. The detail is the broker's remedy.
    NoKey,
    /// The key is refused.
    Auth,
    /// The account cannot pay.
    Billing,
    RateLimit,
    /// The provider says that it has too much to do.
    Overloaded,
    /// The provider failed by itself.
    Server,
    UnknownModel,
    Overflow,
    /// The provider does not take the request.
    Invalid,
    /// A page for people instead of the interface.
    WebPage,
    /// The address has no such path.
    NoInterface,
    Redirect,
    /// The answer stopped before its end.
    Truncated,
    /// The answer cannot be read as the protocol that it should be.
    Malformed,
    /// The answer is larger than anybody needs.
    TooLarge,
    Timeout,
    /// No connection. The detail says why.
    Unreachable,
    /// The configuration names something that this worker cannot use.
    Config,
}

impl Kind {
    /// The class that agents go by.
    pub fn class(self) -> ModelErrorClass {
        match self {
            Self::NoKey | Self::Auth => ModelErrorClass::Auth,
            Self::Billing => ModelErrorClass::Billing,
            Self::RateLimit => ModelErrorClass::RateLimit,
            Self::UnknownModel => ModelErrorClass::UnknownModel,
            Self::Overflow => ModelErrorClass::ContextOverflow,
            Self::Invalid => ModelErrorClass::InvalidRequest,
            _ => ModelErrorClass::Unavailable,
        }
    }
}

/// One failure. The detail is what the other side said, raw: it may hold anything, so that there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub detail: String,
    /// What the provider asks to wait, or what is left of a pause.
    pub retry_after: Option<Duration>,
    /// Whether the same request may succeed when it is sent again soon.
    pub again: bool,
}

impl Fault {
    /// A failure that another try does not mend.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after: None,
            again: false,
        }
    }

    /// A failure that may be over in a moment.
    pub fn passing(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            again: true,
            ..Self::new(kind, detail)
        }
    }
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fault")
            .field("kind", &self.kind)
            .field("again", &self.again)
            .finish_non_exhaustive()
    }
}
