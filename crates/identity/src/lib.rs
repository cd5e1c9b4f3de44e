//! Names that can only hold valid values: roles, sessions, destinations, model references.
//!
//! Text that crosses a border is parsed into one of these types once; after that nobody checks it again. Each type has
//! `parse`, [`FromStr`](std::str::FromStr), `Display` and `AsRef<str>`, and clones at the price of a counter. What cannot
//! be parsed is refused with an [`IdError`] that names the rule and never repeats the text, which may be anybody's.

pub mod command;
mod error;
mod host;
mod model_ref;
mod name;
pub mod principal;
mod role;
mod session;
pub mod text;
mod workspace;

pub use error::IdError;
pub use host::{Destination, HostName};
pub use model_ref::ModelRef;
pub use name::{AgentId, Handle, InstanceName, MessageId, ProviderId, ToolName, TurnId};
pub use principal::{CHANNELS, Principal, PrincipalKind};
pub use role::{Class, Role};
pub use session::SessionKey;
pub use workspace::{DEFAULT_WORKSPACE, workspace, workspace_within};
