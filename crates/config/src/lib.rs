//! The configuration: JSON5 with spans, the schema, errors that show the place.
//!
//! [`load`] gives a typed [`Config`] with findings, or every mistake of the file at once. The schema is one row per key
//! (`section!` in `section.rs`); decoding, defaults, messages, `config get` and the reference all come from these rows.

mod config;
pub mod edit;
mod excerpt;
#[doc(hidden)]
pub mod fuzzing;
mod json5;
mod json_schema;
mod load;
mod mask;
pub mod mention;
mod nearest;
mod path;
pub mod paths;
mod problem;
mod providers;
mod reference;
mod report;
mod rules;
mod schema;
mod secret;
mod section;
mod senders;
mod shape;
mod spelling;
mod types;

pub use config::{AuthSecret, Config, Loaded};
pub use load::{MAX_SIZE, load, load_opened, locate, open, parse, read_text};
pub use mask::masked;
pub use path::{ConfigPath, PathError, Segment};
pub use providers::{BUILTIN, Endpoint as ProviderEndpoint};
pub use report::{LoadError, Mistake, Place};
pub use rules::{AboutRule, Accepted, Cure, Finding, Severity, about_rules};
pub use schema::*;
pub use secret::{SecretField, SecretRef, Source};
pub use senders::*;
pub use shape::Inactive;
pub use types::{Amount, Ignored, Int, OrFalse, Port};
