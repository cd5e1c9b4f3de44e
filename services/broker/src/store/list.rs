//! What is held or wanted, without values, and which of it a lease would give.

use clawdbot_identity::Role;
use clawdbot_proto::v1::Credential;
use clawdbot_secrets::owner::{self, DEFAULT_PROFILE, Use};

use super::{Origin, Store, Value};
use crate::vault::Record;

impl Store {
    /// All of it: the configuration's, the vault's, the environment's.
    pub(crate) fn list(&self) -> Vec<Credential> {
        let configured = self.entries.iter().map(|entry| {
            let (profile, wins) = match &entry.what {
                Use::Login(profile) => {
                    let own = |origin: &Origin<'_>| {
                        matches!(origin, Origin::Config(used) if std::ptr::eq(*used, entry))
                    };
                    (profile.clone(), self.gives(&entry.owner, profile, own))
                }
                _ => (String::new(), true),
            };
            let in_reach = match &entry.value {
                Value::Vault(_) => self.vault.trouble().is_none(),
                _ => true,
            };
            let present = self.missing(entry).is_none();
            Credential {
                owner: entry.owner.to_string(),
                source: "config".to_owned(),
                name: entry.path.clone(),
                present,
                profile,
                in_use: present && wins && in_reach,
            }
        });
        let records = self.vault.records().iter().filter_map(|record| {
            let owner = Role::parse(&record.owner).ok()?;
            Some(Credential {
                source: "vault".to_owned(),
                name: record.profile.clone(),
                present: true,
                profile: record.profile.clone(),
                in_use: self.vault.trouble().is_none() && self.uses(&owner, record),
                owner: record.owner.clone(),
            })
        });
        let environment = self.environment.names().filter_map(|name| {
            let owner = owner::of_name(name)?;
            let own = |origin: &Origin<'_>| matches!(origin, Origin::Environment(used, _) if *used == name);
            Some(Credential {
                source: "environment".to_owned(),
                name: name.to_owned(),
                present: true,
                profile: DEFAULT_PROFILE.to_owned(),
                in_use: self.gives(&owner, DEFAULT_PROFILE, own),
                owner: owner.to_string(),
            })
        });
        configured.chain(records).chain(environment).collect()
    }

    /// Whether a record is given under its own name, or under one of the configuration's.
    fn uses(&self, owner: &Role, record: &Record) -> bool {
        let named = self.entries.iter().any(|entry| {
            entry.owner == *owner
                && matches!(&entry.value, Value::Vault(id) if *id == record.profile)
        });
        named
            || self.gives(owner, &record.profile, |origin| {
                matches!(origin, Origin::Vault(_))
            })
    }

    fn gives(&self, role: &Role, profile: &str, by: impl Fn(&Origin<'_>) -> bool) -> bool {
        let rank = (profile != DEFAULT_PROFILE, profile);
        self.origins(role).get(&rank).is_some_and(by)
    }
}
