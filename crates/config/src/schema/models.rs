//! `models` and `auth`: the providers of models, and profiles to log in there. Keys are secrets and never in `auth`.

use std::collections::BTreeMap;

use clawdbot_identity::ProviderId;

use super::channels::HttpUrl;
use crate::secret::SecretField;
use crate::section::section;
use crate::types::{Amount, Int, MapKey, choice, texts};

choice! {
    /// How the named providers relate to the built-in ones.
    ModelsMode {
        /// They are added.
        Merge = "merge",
        /// They are all there is.
        Replace = "replace",
    }
}

choice! {
    /// A provider's wire protocol.
    Api {
        /// OpenAI's chat completions, which most servers speak.
        OpenAiCompletions = "openai-completions",
        /// OpenAI's responses.
        OpenAiResponses = "openai-responses",
        /// Anthropic's messages.
        AnthropicMessages = "anthropic-messages",
        /// Ollama's own.
        Ollama = "ollama",
    }
    refuse {
        "google-generative-ai" => "this protocol is not supported; Google's models also answer to \"openai-completions\"",
        "github-copilot" => "this protocol is not supported",
        "bedrock-converse-stream" => "this protocol is not supported",
    }
}

choice! {
    /// The version of Anthropic's protocol that a server is asked for.
    ApiVersion {
        /// The one that every server knows.
        V20230601 = "2023-06-01",
        /// The one that takes no sampling parameters.
        V20261021 = "2026-10-21",
    }
}

choice! {
    /// What a model takes.
    Input {
        /// Text.
        Text = "text",
        /// Images.
        Image = "image",
    }
}

choice! {
    /// How a profile logs in.
    AuthKind {
        /// With a key.
        ApiKey = "api_key",
        /// With a token.
        Token = "token",
        /// With a log-in at the provider.
        OAuth = "oauth",
    }
}

texts! {
    /// The name of an HTTP header.
    HeaderName: "the name of a header: letters, digits, _ and -", "x-team", is_header;
    /// A log-in profile: `provider:name`.
    ProfileId: "a profile as PROVIDER:NAME", "anthropic:default", is_profile;
}

fn is_header(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

fn is_profile(text: &str) -> bool {
    text.split_once(':').is_some_and(|(provider, name)| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
        ProviderId::parse(provider).is_ok()
            && (1..=128).contains(&name.len())
            && name.chars().all(allowed)
    })
}

impl MapKey for HeaderName {
    const SHOWN: &'static str = "<name>";
    const SAMPLE: &'static str = "x-team";

    fn parse_key(text: &str) -> Result<Self, String> {
        let rule = "must be the name of a header: letters, digits, _ and -";
        is_header(text)
            .then(|| Self::from_checked(&text.to_ascii_lowercase()))
            .ok_or_else(|| rule.to_owned())
    }

    fn as_key(&self) -> &str {
        self.as_str()
    }
}

impl MapKey for ProfileId {
    const SHOWN: &'static str = "<provider:name>";
    const SAMPLE: &'static str = "anthropic:default";

    fn parse_key(text: &str) -> Result<Self, String> {
        is_profile(text)
            .then(|| Self::from_checked(text))
            .ok_or_else(|| "must be a profile as PROVIDER:NAME".to_owned())
    }

    fn as_key(&self) -> &str {
        self.as_str()
    }
}

section! {
    /// Model providers.
    Models {
        /// How the named providers relate to the built-in ones.
        "mode" mode: ModelsMode = ModelsMode::Merge;
        /// The providers.
        "providers" providers: BTreeMap<ProviderId, Provider>;
    }
}

section! {
    /// A provider.
    Provider {
        /// Its server; the provider's own when unset.
        "baseUrl" base_url: Option<HttpUrl>;
        /// Its key.
        "apiKey" api_key: Option<SecretField>;
        /// Its protocol. When unset: the provider's own, and at a `baseUrl` that is not the provider's `openai-completions`,
        /// but for `anthropic` and `ollama`.
        "api" api: Option<Api>;
        /// The version of the protocol `anthropic-messages`.
        "apiVersion" api_version: ApiVersion = ApiVersion::V20230601;
        /// Headers that go along with every call.
        "headers" headers: BTreeMap<HeaderName, SecretField>;
        /// Its models, where the server does not list them.
        "models" models: Vec<Model>;
    }
}

section! {
    /// A model.
    Model {
        /// The provider's word for it.
        @required "id" id: String;
        /// What people see.
        "name" name: Option<String>;
        /// It thinks before it answers; what is known of the model when unset.
        "reasoning" reasoning: Option<bool>;
        /// What it takes.
        "input" input: Vec<Input> = vec![Input::Text], later "images";
        /// What it costs; what is known of the model when unset.
        "cost" cost: Option<Cost>;
        /// Its window in tokens; what is known of the model when unset.
        "contextWindow" context_window: Option<Int<1, 100000000>>;
        /// Its longest answer in tokens; what is known of the model when unset.
        "maxTokens" max_tokens: Option<Int<1, 10000000>>;
    }
}

section! {
    /// Cost in US dollars per million tokens.
    Cost {
        /// Of what it reads.
        "input" input: Amount = Amount::new(0.0);
        /// Of what it writes.
        "output" output: Amount = Amount::new(0.0);
        /// Of what it reads from its cache.
        "cacheRead" cache_read: Amount = Amount::new(0.0);
        /// Of what it puts into its cache.
        "cacheWrite" cache_write: Amount = Amount::new(0.0);
    }
}

section! {
    /// Log-in profiles; no secrets.
    Auth {
        /// The profiles.
        "profiles" profiles: BTreeMap<ProfileId, AuthProfile>;
        /// Which to try first, by provider.
        "order" order: BTreeMap<ProviderId, Vec<ProfileId>>;
        /// Pauses after a failure.
        "cooldowns" cooldowns: Cooldowns;
    }
}

section! {
    /// A log-in profile.
    AuthProfile {
        /// The provider.
        @required "provider" provider: Option<ProviderId>;
        /// How it logs in.
        @required "mode" mode: AuthKind = AuthKind::ApiKey;
        /// The account, to tell profiles apart.
        "email" email: Option<String>;
    }
}

section! {
    /// Pauses after a failure.
    Cooldowns {
        /// First pause after trouble with payment, in hours.
        "billingBackoffHours" billing_backoff_hours: Amount = Amount::new(5.0);
        /// Longest such pause, in hours.
        "billingMaxHours" billing_max_hours: Amount = Amount::new(24.0);
        /// Quiet time after which failures are forgotten, in hours.
        "failureWindowHours" failure_window_hours: Amount = Amount::new(24.0);
    }
}
