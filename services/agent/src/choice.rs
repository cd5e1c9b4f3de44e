//! Which models a turn may ask, in their order, and what is known of each. It refuses a model for whose provider no process
//! runs; that one is passed over if another is left.

use clawdbot_identity::ModelRef;
use clawdbot_proto::v1::{AgentProfile, AgentSlice, Compaction, ModelFacts, Parameters, Usage};
use tracing::warn;

use crate::tokens;
use crate::transcript::Failure;

/// Tokens that stay free at the end of a window, and of the newest part that a summary leaves alone, where the
/// configuration says nothing.
const RESERVE: u64 = 20_000;
const KEEP: u64 = 20_000;
/// A share of the window that neither may exceed: a small model has room for little else.
const SHARE: u64 = 4;
/// Tokens of an answer that are asked for at least, however full the window seems: the estimate may be too high.
const LEAST_OUTPUT: u64 = 256;

/// A model that can be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub model: ModelRef,
    pub facts: ModelFacts,
    pub limits: Limits,
}

/// How much goes into a model's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens; zero when unknown.
    pub window: u64,
    /// Whether a session that nears the end of the window is summarised.
    pub compacts: bool,
    pub reserve: u64,
    pub keep: u64,
}

impl Limits {
    pub fn new(window: u32, compaction: Option<&Compaction>) -> Self {
        let window = u64::from(window);
        let asked = |value: Option<u32>, default| match value {
            None | Some(0) => default,
            Some(value) => u64::from(value),
        };
        let share = match window {
            0 => u64::MAX,
            window => window / SHARE,
        };
        Self {
            window,
            compacts: compaction.is_none_or(|compaction| compaction.enabled),
            reserve: asked(compaction.map(|c| c.reserve_tokens), RESERVE).min(share),
            keep: asked(compaction.map(|c| c.keep_tokens), KEEP).min(share),
        }
    }
}

impl Choice {
    fn new(model: ModelRef, slice: &AgentSlice) -> Self {
        let facts = slice.models.iter().find(|row| row.model == model.as_str());
        let facts = facts.cloned().unwrap_or_default();
        Self {
            limits: Limits::new(facts.context_window, slice.compaction.as_ref()),
            model,
            facts,
        }
    }

    /// What a request cost, if a price is known.
    pub fn cost(&self, usage: &Usage) -> Option<u64> {
        let price = self.facts.price.as_ref()?;
        Some(tokens::cost(usage, price))
    }

    /// What the request asks for: the model's own, then the session's thinking level, then the caller's wishes, within what
    /// the model can do and what `prompt` tokens leave of its window.
    pub fn parameters(
        &self,
        thinking: Option<&str>,
        asked: Option<&Parameters>,
        prompt: u64,
    ) -> Parameters {
        let mut all = self.facts.parameters.clone().unwrap_or_default();
        if let Some(level) = thinking {
            all.thinking = level.into();
        }
        if let Some(asked) = asked {
            all.temperature = asked.temperature.or(all.temperature);
            all.top_p = asked.top_p.or(all.top_p);
            if asked.max_output_tokens > 0 {
                all.max_output_tokens = asked.max_output_tokens;
            }
            if !asked.thinking.is_empty() {
                all.thinking.clone_from(&asked.thinking);
            }
        }
        let most = self.facts.max_output_tokens;
        if most > 0 && (all.max_output_tokens == 0 || all.max_output_tokens > most) {
            all.max_output_tokens = most;
        }
        if self.limits.window > 0 {
            let room = self.limits.window.saturating_sub(prompt).max(LEAST_OUTPUT);
            let room = u32::try_from(room).unwrap_or(u32::MAX);
            all.max_output_tokens = all.max_output_tokens.min(room);
        }
        all
    }
}

/// The models of a turn in the order in which they are tried: the session's, the configured fallbacks, and when the session
/// has chosen another one than the agent's own, that one last.
pub fn choices(
    slice: &AgentSlice,
    profile: &AgentProfile,
    chosen: Option<&str>,
) -> Result<Vec<Choice>, Failure> {
    let first = chosen.unwrap_or(&profile.model);
    let mut names = vec![first];
    let others = profile.fallbacks.iter().chain([&profile.model]);
    for name in others.map(String::as_str) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut found = Vec::new();
    let mut refused = None;
    for name in names {
        match usable(name, slice) {
            Ok(model) => found.push(Choice::new(model, slice)),
            Err(failure) => {
                refused.get_or_insert((name, failure));
            }
        }
    }
    match (found.first(), refused) {
        (None, Some((_, failure))) => Err(failure),
        (Some(instead), Some((name, failure))) if name == first => {
            warn!(model = name, code = failure.code, instead = %instead.model, "a model cannot be used");
            Ok(found)
        }
        _ => Ok(found),
    }
}

/// The model, if a process runs for its provider.
fn usable(model: &str, slice: &AgentSlice) -> Result<ModelRef, Failure> {
    let model = ModelRef::parse(model).map_err(|error| {
        Failure::new(
            "model.unknown",
            format!("The chosen model cannot be used: a {error}. Choose another with /model."),
        )
    })?;
    if slice
        .providers
        .iter()
        .any(|name| name == model.provider().as_str())
    {
        return Ok(model);
    }
    Err(Failure::new(
        "model.not_running",
        format!(
            "No process runs for the provider {}; running: {}. Choose another model with /model.",
            model.provider(),
            slice.providers.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice() -> AgentSlice {
        AgentSlice {
            providers: vec!["a".into(), "b".into()],
            models: vec![ModelFacts {
                model: "a/one".into(),
                context_window: 8000,
                max_output_tokens: 1000,
                parameters: Some(Parameters {
                    temperature: Some(0.5),
                    top_p: Some(0.9),
                    thinking: "low".into(),
                    ..Parameters::default()
                }),
                ..ModelFacts::default()
            }],
            ..AgentSlice::default()
        }
    }

    fn names(chosen: Option<&str>, model: &str, fallbacks: &[&str]) -> Result<Vec<String>, String> {
        let profile = AgentProfile {
            model: model.into(),
            fallbacks: fallbacks.iter().map(|name| (*name).into()).collect(),
            ..AgentProfile::default()
        };
        match choices(&slice(), &profile, chosen) {
            Ok(all) => Ok(all.iter().map(|choice| choice.model.to_string()).collect()),
            Err(failure) => Err(failure.code),
        }
    }

    #[test]
    fn fallbacks_come_in_their_order_once_each_and_the_agents_own_model_last() {
        for (chosen, fallbacks, expected) in [
            (None, &[][..], &["a/one"][..]),
            (None, &["b/two", "a/one", "b/two"], &["a/one", "b/two"]),
            (Some("b/x"), &["b/two"], &["b/x", "b/two", "a/one"]),
            (None, &["gone/x", "b/two"], &["a/one", "b/two"]),
            (Some("gone/x"), &[], &["a/one"]),
        ] {
            let expected = expected.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(names(chosen, "a/one", fallbacks), Ok(expected));
        }
        assert_eq!(
            names(None, "gone/x", &["gone/y"]),
            Err("model.not_running".into())
        );
        assert_eq!(names(None, "", &[]), Err("model.unknown".into()));
    }

    #[test]
    fn parameters_are_the_models_then_the_sessions_then_the_callers() {
        let choice = Choice::new(ModelRef::parse("a/one").unwrap(), &slice());
        let plain = choice.parameters(None, None, 0);
        assert_eq!(
            (plain.temperature, plain.max_output_tokens),
            (Some(0.5), 1000)
        );
        assert_eq!(plain.thinking, "low");
        assert_eq!(choice.parameters(Some("high"), None, 0).thinking, "high");
        let asked = Parameters {
            temperature: Some(0.0),
            max_output_tokens: 5000,
            thinking: "off".into(),
            ..Parameters::default()
        };
        let all = choice.parameters(Some("high"), Some(&asked), 0);
        assert_eq!((all.temperature, all.top_p), (Some(0.0), Some(0.9)));
        assert_eq!(all.thinking, "off");
        assert_eq!(all.max_output_tokens, 1000, "no more than the model can");
        for (prompt, most) in [(6000, 1000), (7500, 500), (7900, 256), (9000, 256)] {
            let all = choice.parameters(None, None, prompt);
            assert_eq!(all.max_output_tokens, most, "what is left of the window");
        }
        let unknown = Choice::new(ModelRef::parse("b/x").unwrap(), &slice());
        assert_eq!(unknown.parameters(None, Some(&asked), 1 << 40), asked);
    }

    #[test]
    fn a_small_window_leaves_room_for_the_conversation() {
        let set = Compaction {
            enabled: true,
            reserve_tokens: 30_000,
            keep_tokens: 10_000,
        };
        for (window, compaction, reserve, keep) in [
            (200_000, None, 20_000, 20_000),
            (200_000, Some(&set), 30_000, 10_000),
            (8192, Some(&set), 2048, 2048),
            (4096, None, 1024, 1024),
            (0, None, 20_000, 20_000),
        ] {
            let limits = Limits::new(window, compaction);
            assert_eq!((limits.reserve, limits.keep), (reserve, keep), "{window}");
        }
        assert!(Limits::new(1, None).compacts);
        assert!(!Limits::new(1, Some(&Compaction::default())).compacts);
    }
}
