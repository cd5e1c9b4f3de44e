//! The loaded configuration: typed settings, the secrets that the file holds, and what its owner should know.
//! Secrets leave it exactly once; whatever shows a configuration shows `[secret]` in their place.

use std::path::PathBuf;

use serde_json::Value as Json;
use zeroize::Zeroizing;

use crate::path::{ConfigPath, Segment};
use crate::rules::Finding;
use crate::schema::{
    self, AuthKind, Bind, CompactionMode, GatewayMode, ModelChoice, PeerKind, ReloadMode, Settings,
};
use crate::secret::{SecretField, SecretRef, SecretTable};
use crate::shape::{Inactive, Shape};

/// A valid configuration. It reads like its [`Settings`]: `config.gateway.port`.
pub struct Config {
    settings: Settings,
    secrets: SecretTable,
}

impl std::ops::Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// A secret that policy itself verifies.
#[derive(Clone, Copy)]
pub enum AuthSecret<'a> {
    /// The file does not say.
    Unset,
    /// Written into the file.
    Literal(&'a [u8]),
    /// Kept elsewhere, in most cases in a variable of the start environment.
    Reference(&'a SecretRef),
}

impl Config {
    pub(crate) fn new(settings: Settings, secrets: SecretTable) -> Self {
        Self { settings, secrets }
    }

    /// `gateway.auth.token`.
    pub fn gateway_token(&self) -> AuthSecret<'_> {
        self.auth_secret(
            "gateway.auth.token",
            self.settings.gateway.auth.token.as_ref(),
        )
    }

    /// `gateway.auth.password`.
    pub fn gateway_password(&self) -> AuthSecret<'_> {
        self.auth_secret(
            "gateway.auth.password",
            self.settings.gateway.auth.password.as_ref(),
        )
    }

    fn auth_secret<'a>(&'a self, path: &str, field: Option<&'a SecretField>) -> AuthSecret<'a> {
        match field {
            None => AuthSecret::Unset,
            Some(SecretField::Reference(reference)) => AuthSecret::Reference(reference),
            Some(SecretField::Literal) => {
                let literal = self.secrets.literal(&path.into());
                literal.map_or(AuthSecret::Unset, AuthSecret::Literal)
            }
        }
    }

    /// Takes the secrets that the file itself holds, but for those of `gateway.auth`, which policy verifies itself.
    /// A second call gives nothing.
    pub fn take_literals(&mut self) -> Vec<(ConfigPath, Zeroizing<Vec<u8>>)> {
        let auth = ConfigPath::from("gateway.auth");
        let all = std::mem::take(&mut self.secrets.literals);
        let (kept, taken) = all
            .into_iter()
            .partition(|(path, _)| path.starts_with(&auth));
        self.secrets.literals = kept;
        taken
    }

    /// The settings whose secrets are kept elsewhere, and where.
    pub fn references(&self) -> &[(ConfigPath, SecretRef)] {
        &self.secrets.references
    }
}

/// A configuration that loaded, with what there is to say about it.
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What its owner should know, the worst first.
    pub findings: Vec<Finding>,
    /// The file; nothing when there was none and the defaults hold.
    pub source: Option<PathBuf>,
    pub(crate) inactive: Vec<Inactive>,
}

impl Loaded {
    pub(crate) fn new(config: Config, findings: Vec<Finding>, mut inactive: Vec<Inactive>) -> Self {
        // Some values of keys that work stand for features that do not exist yet.
        let mut add = |missing: bool, path: &str, feature| {
            if missing {
                let path = path.to_owned();
                inactive.push(Inactive { path, feature });
            }
        };
        let gateway = &config.gateway;
        add(
            gateway.mode == GatewayMode::Remote,
            "gateway.mode",
            "remote gateways",
        );
        add(
            matches!(gateway.bind, Bind::Tailnet | Bind::Auto),
            "gateway.bind",
            "Tailscale",
        );
        add(
            matches!(gateway.reload.mode, ReloadMode::Hot | ReloadMode::Restart),
            "gateway.reload.mode",
            "a reload mode of its own (it works like \"hybrid\")",
        );
        let agents = &config.agents;
        let nobody = |model: &ModelChoice| {
            let mut all = model.primary.iter().chain(&model.fallbacks);
            all.any(|model| !config.models.answers(model.provider()))
        };
        const UNKNOWN: &str = "a provider without an address (models.providers.<id>.baseUrl)";
        add(
            nobody(&agents.defaults.model),
            "agents.defaults.model",
            UNKNOWN,
        );
        for agent in agents
            .list
            .iter()
            .filter(|agent| agent.model.as_ref().is_some_and(nobody))
        {
            let path = format!("agents.list.{}.model", agent.id);
            add(true, &path, UNKNOWN);
        }
        add(
            agents.defaults.compaction.mode == CompactionMode::Safeguard,
            "agents.defaults.compaction.mode",
            "summaries in pieces",
        );
        for (id, _) in config
            .auth
            .profiles
            .iter()
            .filter(|(_, profile)| profile.mode == AuthKind::OAuth)
        {
            let path = format!("auth.profiles.{}.mode", id.as_str());
            add(true, &path, "log-in at the provider");
        }
        for (index, _) in config
            .bindings
            .iter()
            .enumerate()
            .filter(|(_, binding)| matches!(&binding.r#match.peer, Some(peer) if peer.kind == PeerKind::Channel))
        {
            add(true, &format!("bindings[{index}].match.peer"), "Discord");
        }
        Self {
            config,
            findings,
            source: None,
            inactive,
        }
    }

    /// The keys that the file sets although their feature does not exist yet.
    pub fn inactive(&self) -> &[Inactive] {
        &self.inactive
    }

    /// The whole effective configuration: defaults included, secrets shown as `[secret]`, settings without a value left
    /// out.
    pub fn to_json(&self) -> Json {
        self.config.settings.show()
    }

    /// The effective value at a path such as `gateway.port`; null for a setting without a value, nothing for a path that
    /// the schema does not have.
    pub fn get(&self, path: &str) -> Option<Json> {
        let path: ConfigPath = path.parse().ok()?;
        let mut value = &self.to_json();
        for segment in path.segments() {
            let next = match segment {
                Segment::Key(key) => value.get(key),
                Segment::Index(index) => value.get(index),
            };
            match next {
                Some(next) => value = next,
                None => return schema::knows(&path).then_some(Json::Null),
            }
        }
        Some(value.clone())
    }
}
