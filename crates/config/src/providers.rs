//! The providers that need no address: one row each. What has neither a row nor an address in the configuration has no
//! worker, so that a slip in a provider's name never sends a message anywhere.

use clawdbot_identity::ProviderId;

use crate::schema::{Api, Models, ModelsMode};

/// Answers without any provider.
pub const BUILTIN: &str = "builtin";

struct Known {
    id: &'static str,
    base_url: &'static str,
    api: Api,
    /// Keeps its protocol at another address, since only its own kind of server bears its name.
    everywhere: bool,
}

const fn known(id: &'static str, base_url: &'static str, api: Api, everywhere: bool) -> Known {
    Known {
        id,
        base_url,
        api,
        everywhere,
    }
}

use Api::{AnthropicMessages, Ollama, OpenAiCompletions, OpenAiResponses};

/// Addresses as the providers' own clients use them: OpenAI's kind with the version in the path, the others without.
const KNOWN: &[Known] = &[
    known(
        "anthropic",
        "https://api.anthropic.com",
        AnthropicMessages,
        true,
    ),
    known(
        "openai",
        "https://api.openai.com/v1",
        OpenAiResponses,
        false,
    ),
    known("ollama", "http://127.0.0.1:11434", Ollama, true),
    known(
        "openrouter",
        "https://openrouter.ai/api/v1",
        OpenAiCompletions,
        false,
    ),
    known(
        "groq",
        "https://api.groq.com/openai/v1",
        OpenAiCompletions,
        false,
    ),
    known(
        "mistral",
        "https://api.mistral.ai/v1",
        OpenAiCompletions,
        false,
    ),
    known("xai", "https://api.x.ai/v1", OpenAiCompletions, false),
    known(
        "cerebras",
        "https://api.cerebras.ai/v1",
        OpenAiCompletions,
        false,
    ),
];

/// Where a provider answers and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// http:// or https:// address without a trailing slash.
    pub base_url: String,
    /// The protocol.
    pub api: Api,
    /// The file names the address.
    pub named: bool,
}

impl Models {
    /// Where a provider answers; nothing when neither the file nor the table says it.
    pub fn endpoint(&self, provider: &ProviderId) -> Option<Endpoint> {
        let described = self.providers.get(provider);
        if described.is_none() && self.mode == ModelsMode::Replace {
            return None;
        }
        let known = KNOWN.iter().find(|row| row.id == provider.as_str());
        let own = described.and_then(|provider| provider.base_url.as_ref());
        let base_url =
            own.map_or_else(|| known.map(|row| row.base_url), |url| Some(url.as_str()))?;
        let base_url = base_url.trim_end_matches('/');
        let usual = match (own, known) {
            // Ollama's second interface.
            (Some(_), Some(row)) if row.api == Ollama && base_url.ends_with("/v1") => {
                OpenAiCompletions
            }
            (Some(_), Some(row)) if !row.everywhere => OpenAiCompletions,
            (_, Some(row)) => row.api,
            (_, None) => OpenAiCompletions,
        };
        Some(Endpoint {
            base_url: base_url.to_owned(),
            api: described.and_then(|provider| provider.api).unwrap_or(usual),
            named: own.is_some(),
        })
    }

    /// Whether some process can answer for a provider.
    pub fn answers(&self, provider: &ProviderId) -> bool {
        provider.as_str() == BUILTIN || self.endpoint(provider).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn endpoint(file: &str, id: &str) -> Option<(String, &'static str, bool)> {
        let loaded = parse("test", format!("{{models: {{{file}}}}}").as_bytes())
            .unwrap_or_else(|error| panic!("{}", error.render(false)));
        let found = loaded
            .config
            .models
            .endpoint(&ProviderId::parse(id).unwrap())?;
        Some((found.base_url, found.api.as_str(), found.named))
    }

    #[test]
    fn a_provider_answers_where_the_file_says_else_where_it_is_known_to_else_nowhere() {
        for (file, id, expected) in [
            (
                "",
                "anthropic",
                Some(("https://api.anthropic.com", "anthropic-messages", false)),
            ),
            (
                "",
                "openai",
                Some(("https://api.openai.com/v1", "openai-responses", false)),
            ),
            (
                "",
                "ollama",
                Some(("http://127.0.0.1:11434", "ollama", false)),
            ),
            (
                "",
                "groq",
                Some((
                    "https://api.groq.com/openai/v1",
                    "openai-completions",
                    false,
                )),
            ),
            ("", "antropic", None),
            ("", "builtin", None),
            ("mode: 'replace'", "anthropic", None),
            (
                "mode: 'replace', providers: {anthropic: {}}",
                "anthropic",
                Some(("https://api.anthropic.com", "anthropic-messages", false)),
            ),
            ("providers: {box: {}}", "box", None),
            ("providers: {box: {api: 'ollama'}}", "box", None),
            (
                "providers: {box: {baseUrl: 'http://10.0.0.9:8000/v1/'}}",
                "box",
                Some(("http://10.0.0.9:8000/v1", "openai-completions", true)),
            ),
            (
                "providers: {openai: {baseUrl: 'http://127.0.0.1:8080/v1'}}",
                "openai",
                Some(("http://127.0.0.1:8080/v1", "openai-completions", true)),
            ),
            (
                "providers: {openai: {api: 'openai-completions'}}",
                "openai",
                Some(("https://api.openai.com/v1", "openai-completions", false)),
            ),
            (
                "providers: {anthropic: {baseUrl: 'http://127.0.0.1:8080'}}",
                "anthropic",
                Some(("http://127.0.0.1:8080", "anthropic-messages", true)),
            ),
            (
                "providers: {ollama: {baseUrl: 'http://10.0.0.5:11434'}}",
                "ollama",
                Some(("http://10.0.0.5:11434", "ollama", true)),
            ),
            (
                "providers: {ollama: {baseUrl: 'http://10.0.0.5:11434/v1'}}",
                "ollama",
                Some(("http://10.0.0.5:11434/v1", "openai-completions", true)),
            ),
        ] {
            let expected = expected.map(|(url, api, named)| (url.to_owned(), api, named));
            assert_eq!(endpoint(file, id), expected, "{file} {id}");
        }
    }
}
