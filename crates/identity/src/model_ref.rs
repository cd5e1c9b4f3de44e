//! `provider/model`, split at the first `/`: the provider is an id of ours, the model is the provider's own word.
//! The provider is lower-cased; the model keeps its case, since some servers distinguish it.

use std::sync::Arc;

use crate::name::{ProviderId, text_display, text_traits};
use crate::{IdError, text};

const WHAT: &str = "model reference";

/// A model of a provider: `anthropic/claude-opus-4-5`, `ollama/hf.co/org/model:q4`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelRef(Arc<str>, ProviderId);

text_traits!(ModelRef);
text_display!(ModelRef);

impl ModelRef {
    /// Takes `provider/model`; the model has 1 to 200 bytes.
    ///
    /// # Errors
    /// Without a `/`, with an invalid provider id, or with a model that is empty, too long or not printable.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let Some((provider, model)) = text.split_once('/') else {
            return Err(IdError::new(
                WHAT,
                "must have the form provider/model, for instance ollama/llama3",
            ));
        };
        let provider = ProviderId::parse(&provider.to_ascii_lowercase())?;
        if !(1..=200).contains(&model.len()) {
            return Err(IdError::new(
                WHAT,
                "must have the form provider/model with 1 to 200 bytes of model",
            ));
        }
        if model
            .chars()
            .any(|c| c.is_whitespace() || text::is_deceptive(c))
        {
            return Err(IdError::new(
                WHAT,
                "must not contain spaces, control or invisible characters",
            ));
        }
        Ok(Self(format!("{provider}/{model}").into(), provider))
    }

    /// Whose model it is, and so which worker serves it.
    pub fn provider(&self) -> &ProviderId {
        &self.1
    }

    /// The provider's word for the model, everything after the first `/`.
    pub fn model(&self) -> &str {
        &self.0[self.1.as_str().len() + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_slash_and_lower_cases_only_the_provider() {
        let model = ModelRef::parse("OpenRouter/Meta/Llama-3:Free").unwrap();
        assert_eq!(model.provider().as_str(), "openrouter");
        assert_eq!(model.model(), "Meta/Llama-3:Free");
        assert_eq!(model.to_string(), "openrouter/Meta/Llama-3:Free");
        assert_eq!(ModelRef::parse(model.as_str()), Ok(model));
    }

    #[test]
    fn a_missing_provider_is_told_the_form() {
        let error = ModelRef::parse("llama3").unwrap_err().to_string();
        assert!(error.contains("provider/model"), "{error}");
    }

    #[test]
    fn models_are_bounded_and_printable() {
        assert!(ModelRef::parse(&format!("ollama/{}", "m".repeat(200))).is_ok());
        let long = format!("ollama/{}", "m".repeat(201));
        for text in [
            "ollama/",
            "/llama3",
            "bad.id/x",
            "ollama/a b",
            "ollama/a\u{1b}",
            "ollama/a\u{202e}",
            long.as_str(),
        ] {
            assert!(ModelRef::parse(text).is_err(), "{text:?}");
        }
    }
}
