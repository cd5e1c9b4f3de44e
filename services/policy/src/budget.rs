//! What a session may still use: tokens, money, calls of tools, time.

use clawdbot_proto::v1;

use crate::denied::Denied;
use crate::handle::Grant;

/// What was used, and what is held back for requests that run.
#[derive(Default)]
pub(crate) struct Budgets {}

impl Budgets {
    /// Before a call of a tool.
    ///
    /// # Errors
    /// With the rule of the budget that is used up.
    pub(crate) fn take_call(&self, _grant: &Grant, _now_ms: u64) -> Result<(), Denied> {
        Ok(())
    }

    /// Before a request to a model: holds back what it may use.
    ///
    /// # Errors
    /// With the rule of the budget that is used up.
    pub(crate) fn authorize(
        &self,
        _grant: &Grant,
        _request: &v1::AuthorizeRequest,
        _now_ms: u64,
    ) -> Result<(), Denied> {
        Ok(())
    }
}
