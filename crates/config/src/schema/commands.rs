//! `commands`: what can be done from a chat with a leading `/`, and who the owner is.
//! Chat commands that would run a shell, change the configuration or override it in flight do not exist.

use crate::json5::{Node, Value};
use crate::section::section;
use crate::senders::Identity;
use crate::shape::{Cx, Info, Kind, Shape};
use crate::types::choice;
use serde_json::Value as Json;

choice! {
    /// Whether commands are offered in the chat program's own menu.
    NativeWord {
        /// Where the service has such a menu.
        Auto = "auto",
    }
}

/// `"auto"`, or a boolean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoBool {
    /// As it fits.
    Auto,
    /// As said.
    Fixed(bool),
}

impl Shape for AutoBool {
    fn info() -> Info {
        Info::new(
            &[Kind::Bool, Kind::String],
            "a boolean or the string \"auto\"",
            "true",
        )
        .limits(NativeWord::info().limits)
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(Self::Fixed(value)),
            Value::String(_) => NativeWord::decode(node, cx).map(|_| Self::Auto),
            _ => {
                cx.wrong_type::<Self>(&node);
                None
            }
        }
    }

    fn show(&self) -> Json {
        match self {
            Self::Auto => NativeWord::Auto.show(),
            Self::Fixed(value) => value.show(),
        }
    }
}

section! {
    /// Commands in a chat, and who the owner is.
    Commands {
        /// Read commands in messages; without it they are plain text.
        "text" text: bool = true;
        /// Offer them in the chat program's own menu.
        "native" native: AutoBool = AutoBool::Auto, later "command menus";
        /// Not supported; only `false` is accepted.
        "config" config: bool = false;
        /// Not supported; only `false` is accepted.
        "bash" bash: bool = false;
        /// Not supported; only `false` is accepted.
        "debug" debug: bool = false;
        /// Let the owner restart processes from a chat.
        "restart" restart: bool = false, later "restarts from a chat";
        /// Only those who may write may use commands; it cannot be switched off.
        "useAccessGroups" use_access_groups: bool = true;
        /// The owner, as CHANNEL:IDENTITY; nobody when empty. When unset: the only entry of a channel's `allowFrom`, if it is a stable id.
        "ownerAllowFrom" owner_allow_from: Option<Vec<Identity>>;
    }
}
