//! The worker's slice of the configuration, read once after each change.

use std::sync::Arc;
use std::time::Duration;

use clawdbot_http::BaseUrl;
use clawdbot_proto::v1::{ModelFacts, ModelSlice};

use crate::fault::{Fault, Kind, Place};
use crate::profiles::Pauses;
use crate::wire::{Api, Server, Target};

/// Where the provider is and how it is spoken to.
pub struct Settings {
    pub provider: String,
    pub api: Api,
    pub base: BaseUrl,
    /// Path before the protocol's own.
    pub prefix: String,
    pub version: String,
    pub order: Vec<String>,
    pub pauses: Pauses,
    /// Whom the keys must be for; opaque.
    pub audience: String,
    models: Vec<ModelFacts>,
    server: Server,
    /// Host and port, for people.
    address: String,
}

impl Settings {
    /// Reads a slice.
    ///
    /// # Errors
    /// With what this worker cannot use.
    pub fn read(slice: &ModelSlice) -> Result<Arc<Self>, Fault> {
        // A service manager starts whatever is called; nobody should have called this one.
        if slice.base_url.is_empty() && slice.api.is_empty() {
            return Err(Fault::new(
                Kind::Config,
                format!(
                    "the configuration has no provider {name}: name a model {name}/... as somebody's model, or say where it is in models.providers.{name}",
                    name = slice.provider
                ),
            ));
        }
        let api = Api::parse(&slice.api).ok_or_else(|| {
            Fault::new(
                Kind::Config,
                format!(
                    "models.providers.{}.api is {:?}, which is not there yet",
                    slice.provider, slice.api
                ),
            )
        })?;
        let base = BaseUrl::parse(&slice.base_url).map_err(|error| {
            Fault::new(
                Kind::Config,
                format!("models.providers.{}.baseUrl: {error}", slice.provider),
            )
        })?;
        let prefix = match api.base_suffix() {
            "" => base.path(),
            suffix => base.path().strip_suffix(suffix).unwrap_or(base.path()),
        };
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        Ok(Arc::new(Self {
            provider: slice.provider.clone(),
            prefix: prefix.to_owned(),
            server: Server::of(&slice.provider, base.destination().host().as_str()),
            version: match slice.api_version.as_str() {
                "" => "2023-06-01".to_owned(),
                version => version.to_owned(),
            },
            order: slice.profile_order.clone(),
            pauses: Pauses {
                billing_first: seconds(slice.billing_backoff_seconds),
                billing_longest: seconds(slice.billing_max_seconds),
                window: seconds(slice.failure_window_seconds),
            },
            audience: slice.audience.clone(),
            models: slice.models.clone(),
            address: base.destination().to_string(),
            api,
            base,
        }))
    }

    /// What the codecs need to know for one model.
    pub fn target(&self, model: &str) -> Target<'_> {
        Target {
            api: self.api,
            provider: &self.provider,
            version: &self.version,
            server: self.server,
            facts: self.models.iter().find(|facts| facts.model == model),
        }
    }

    /// Where something happened, as far as the configuration knows it.
    pub fn place<'a>(&'a self, model: &'a str) -> Place<'a> {
        Place {
            provider: &self.provider,
            model,
            profile: None,
            address: &self.address,
            ollama: self.api == Api::Ollama,
        }
    }

    /// Whether the provider serves nobody without a key. Servers of one's own, which are those without TLS, and every Ollama
    /// may go without.
    pub fn needs_key(&self) -> bool {
        self.base.tls() && self.api != Api::Ollama
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(api: &str, base_url: &str) -> ModelSlice {
        ModelSlice {
            provider: "p".into(),
            api: api.into(),
            base_url: base_url.into(),
            ..Default::default()
        }
    }

    #[test]
    fn base_addresses_mean_the_same_with_and_without_the_version() {
        for (api, base, path) in [
            (
                "anthropic-messages",
                "https://api.anthropic.com",
                "/v1/messages",
            ),
            (
                "anthropic-messages",
                "https://api.anthropic.com/v1",
                "/v1/messages",
            ),
            (
                "anthropic-messages",
                "https://x.example/anthropic",
                "/anthropic/v1/messages",
            ),
            (
                "openai-completions",
                "https://api.openai.com/v1",
                "/v1/chat/completions",
            ),
            (
                "openai-responses",
                "https://api.openai.com/v1",
                "/v1/responses",
            ),
            ("ollama", "http://127.0.0.1:11434", "/api/chat"),
            ("ollama", "http://127.0.0.1:11434/v1", "/api/chat"),
        ] {
            let settings = Settings::read(&slice(api, base)).unwrap();
            assert_eq!(
                format!("{}{}", settings.prefix, settings.api.path()),
                path,
                "{base}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let fault = |api, base| Settings::read(&slice(api, base)).err().unwrap();
        assert!(
            fault("google-x", "https://a.example")
                .detail
                .contains("models.providers.p.api")
        );
        assert!(
            fault("ollama", "ftp://a")
                .detail
                .contains("models.providers.p.baseUrl")
        );
    }

    #[test]
    fn only_companies_need_a_key() {
        let needs = |api, base| Settings::read(&slice(api, base)).unwrap().needs_key();
        assert!(needs(
            "openai-completions",
            "https://api.groq.com/openai/v1"
        ));
        assert!(!needs("openai-completions", "http://127.0.0.1:1234/v1"));
        assert!(!needs("ollama", "https://ollama.example"));
    }
}
