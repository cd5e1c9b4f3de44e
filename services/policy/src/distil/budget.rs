//! The limits of what may be spent, key by key: an agent's own, else the defaults'.

use clawdbot_config::{self as config, Budget, Config};

use crate::budget::{Kind, Limit, Limits};

/// All limits of the configuration.
pub(super) fn limits(config: &Config) -> Limits {
    let defaults = own(&config.agents.defaults.budget, "agents.defaults.budget");
    let agents = config.agents.list.iter().enumerate();
    let agent = |(at, agent): (usize, &config::Agent)| {
        let section = format!("agents.list[{at}].budget");
        let mut limits: Vec<_> = agent
            .budget
            .iter()
            .flat_map(|budget| own(budget, &section))
            .collect();
        let said = |limits: &[Limit], kind| limits.iter().any(|own| own.kind == kind);
        for limit in &defaults {
            if !said(&limits, limit.kind) {
                limits.push(limit.clone());
            }
        }
        (agent.id.clone(), limits)
    };
    Limits {
        agents: agents.map(agent).collect(),
        defaults,
    }
}

fn own(budget: &Budget, section: &str) -> Vec<Limit> {
    // Millionths of a dollar; nonsense is bounded by the type.
    let money = |dollars: Option<config::Amount>| {
        dollars.map(|dollars| (dollars.get() * 1_000_000.0).round() as u64)
    };
    let sender = &budget.per_sender;
    let all = [
        (Kind::RunTokens, budget.run_tokens.map(config::Int::get)),
        (Kind::RunCalls, budget.run_calls.map(config::Int::get)),
        (Kind::RunSeconds, budget.run_seconds.map(config::Int::get)),
        (Kind::DayTokens, budget.daily_tokens.map(config::Int::get)),
        (Kind::DayMoney, money(budget.daily_usd)),
        (Kind::MonthMoney, money(budget.monthly_usd)),
        (
            Kind::SenderTokens,
            sender.daily_tokens.map(config::Int::get),
        ),
        (Kind::SenderMoney, money(sender.daily_usd)),
    ];
    let limit = |(kind, most): (Kind, Option<u64>)| {
        Some(Limit {
            kind,
            most: most?,
            section: section.to_owned(),
        })
    };
    all.into_iter().filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::AgentId;

    use crate::distil::tests::reading;

    #[test]
    fn an_agent_has_the_limits_that_it_names_and_the_defaults_for_the_rest() {
        let limits = reading(
            "{agents: {
                defaults: {budget: {dailyUsd: 1.5, monthlyUsd: 20, dailyTokens: 9, runTokens: 1, runCalls: 2, runSeconds: 3,
                    perSender: {dailyTokens: 4, dailyUsd: 0.25}}},
                list: [{id: 'work', budget: {dailyTokens: 5}}, {id: 'home'}],
            }}",
        )
        .settings
        .budgets;
        let of = |agent: &str| {
            let limits = limits.of(&AgentId::parse(agent).unwrap()).iter();
            let mut limits: Vec<_> = limits
                .map(|limit| (limit.most, limit.section.as_str()))
                .collect();
            limits.sort_unstable();
            limits
        };
        let all = |own: (u64, &'static str)| {
            let mut all = [1, 2, 3, 4, 250_000, 1_500_000, 20_000_000]
                .map(|most| (most, "agents.defaults.budget"))
                .to_vec();
            all.push(own);
            all.sort_unstable();
            all
        };
        assert_eq!(of("work"), all((5, "agents.list[0].budget")));
        for agent in ["home", "main"] {
            assert_eq!(of(agent), all((9, "agents.defaults.budget")), "{agent}");
        }
        assert!(
            reading("{}")
                .settings
                .budgets
                .of(&AgentId::main())
                .is_empty()
        );
    }
}
