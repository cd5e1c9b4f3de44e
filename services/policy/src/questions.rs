//! Calls that wait for the owner's yes or no.

use clawdbot_identity::{MessageId, ToolName};

use crate::denied::Denied;
use crate::handle::Grant;
use crate::policy::Policy;

/// A call that the owner has to be asked about.
#[expect(dead_code, reason = "nobody asks yet")]
pub(crate) struct Question<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) call: &'a MessageId,
    pub(crate) tool: &'a ToolName,
    /// Canonical JSON.
    pub(crate) arguments: &'a str,
    /// Why, in words.
    pub(crate) reasons: Vec<String>,
}

/// What waits.
#[derive(Default)]
pub(crate) struct Questions {}

impl Questions {
    /// Asks the owner and waits.
    ///
    /// # Errors
    /// With the rule `approval.denied`, `approval.timeout` or `approval.nobody`.
    #[expect(clippy::unused_async, reason = "it waits for the owner")]
    pub(crate) async fn ask(
        &self,
        _policy: &Policy,
        _question: Question<'_>,
    ) -> Result<(), Denied> {
        Err(Denied::new(
            "approval.nobody",
            "nobody can be asked whether this call may happen",
        ))
    }
}
