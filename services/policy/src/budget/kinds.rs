//! The budgets that there are, as a table: what is counted, for whom, and under which key the configuration has the limit.

use std::collections::BTreeMap;

use clawdbot_identity::AgentId;

/// A budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    RunTokens,
    RunCalls,
    RunSeconds,
    DayTokens,
    DayMoney,
    MonthMoney,
    SenderTokens,
    SenderMoney,
}

/// What is known of a budget.
pub(super) struct Row {
    kind: Kind,
    /// The rule of its refusals.
    pub(super) rule: &'static str,
    /// Under `agents.*.budget`.
    pub(super) key: &'static str,
    /// tokens, microusd, calls or seconds.
    pub(super) what: &'static str,
    /// run, day, month or sender.
    pub(super) of: &'static str,
}

const KINDS: &[Row] = &[
    row(
        Kind::RunTokens,
        "budget.run_tokens",
        "runTokens",
        "tokens",
        "run",
    ),
    row(
        Kind::RunCalls,
        "budget.run_calls",
        "runCalls",
        "calls",
        "run",
    ),
    row(
        Kind::RunSeconds,
        "budget.run_seconds",
        "runSeconds",
        "seconds",
        "run",
    ),
    row(
        Kind::DayTokens,
        "budget.day_tokens",
        "dailyTokens",
        "tokens",
        "day",
    ),
    row(
        Kind::DayMoney,
        "budget.day_usd",
        "dailyUsd",
        "microusd",
        "day",
    ),
    row(
        Kind::MonthMoney,
        "budget.month_usd",
        "monthlyUsd",
        "microusd",
        "month",
    ),
    row(
        Kind::SenderTokens,
        "budget.sender_tokens",
        "perSender.dailyTokens",
        "tokens",
        "sender",
    ),
    row(
        Kind::SenderMoney,
        "budget.sender_usd",
        "perSender.dailyUsd",
        "microusd",
        "sender",
    ),
];

const fn row(
    kind: Kind,
    rule: &'static str,
    key: &'static str,
    what: &'static str,
    of: &'static str,
) -> Row {
    Row {
        kind,
        rule,
        key,
        what,
        of,
    }
}

impl Kind {
    /// All of them.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|row| row.kind)
    }

    /// Whether calls of tools are stopped by it.
    pub(super) fn is_of_calls(self) -> bool {
        matches!(self, Self::RunCalls | Self::RunSeconds)
    }

    /// What is known of it.
    pub(super) fn row(self) -> &'static Row {
        // Every kind has its row, which a test walks.
        KINDS
            .iter()
            .find(|row| row.kind == self)
            .unwrap_or(&KINDS[0])
    }
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) kind: Kind,
    pub(crate) most: u64,
    /// `agents.defaults.budget`, or an agent's own.
    pub(crate) section: String,
}

impl Limit {
    /// The key that holds it.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.kind.row().key)
    }
}

/// The limits of all agents; each agent has its own counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For agents that `agents.list` does not name.
    pub(crate) defaults: Vec<Limit>,
    pub(crate) agents: BTreeMap<AgentId, Vec<Limit>>,
}

impl Limits {
    /// What an agent may use.
    pub(crate) fn of(&self, agent: &AgentId) -> &[Limit] {
        self.agents.get(agent).unwrap_or(&self.defaults)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_budget_has_a_rule_and_a_key_of_its_own() {
        let count = Kind::all().count();
        let rules: BTreeSet<_> = Kind::all().map(|kind| kind.row().rule).collect();
        let keys: BTreeSet<_> = Kind::all().map(|kind| kind.row().key).collect();
        assert_eq!((rules.len(), keys.len()), (count, count));
        assert!(Kind::all().all(|kind| kind.row().kind == kind));
    }
}
