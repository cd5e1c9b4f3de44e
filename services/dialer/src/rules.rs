//! Who may dial what: the lists that policy pushes, the names that nobody may dial, and the verdict
//! on the addresses of an answer. Pure; whatever is not on a role's list is refused.

use std::collections::HashMap;
use std::net::IpAddr;

use clawdbot_identity::{Destination, HostName, Role};
use clawdbot_proto::v1;

use crate::address::{Space, judge};

/// Names under which cloud machines find their metadata service, whatever address they have today.
const METADATA_NAMES: &[&str] = &[
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.azure.internal",
    "metadata.goog",
    "metadata.google.internal",
    "metadata.tencentyun.com",
];

/// Families of roles that may have a list.
const DIALLING: &[&str] = &["channel", "model"];

/// Whether a role may have a list at all.
pub fn may_dial(role: &Role) -> bool {
    DIALLING.contains(&role.family())
}

/// A decision, not a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable name: `dial.role`, `dial.bad_request`, `dial.bad_list`, `dial.bad_destination`,
    /// `dial.no_list`, `dial.not_listed`, `dial.private_address` or `dial.busy`.
    pub rule: &'static str,
    /// For people: what was refused and what to do.
    pub message: String,
}

impl Refusal {
    /// Joins a rule's name and the words for it.
    pub fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            rule,
            message: message.into(),
        }
    }
}

/// Whether a destination may lie on this machine or in its own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Private {
    /// Refuse such addresses.
    Refused,
    /// The configuration itself names this destination.
    Allowed,
}

/// What each role may dial.
#[derive(Debug, Default)]
pub struct Lists {
    roles: HashMap<Role, HashMap<Destination, Private>>,
}

impl Lists {
    /// Takes a push of policy. One that is not wholly valid is refused wholly.
    ///
    /// # Errors
    /// `dial.bad_list` for a role that cannot dial, a role named twice, or an invalid destination.
    pub fn parse(push: &v1::Destinations) -> Result<Self, Refusal> {
        let bad = |what: &str, why: &str| Refusal::new("dial.bad_list", format!("{what}: {why}"));
        let mut roles = HashMap::new();
        for (index, entry) in push.roles.iter().enumerate() {
            let what = format!("list {index} of the push");
            let role = Role::parse(&entry.role).map_err(|e| bad(&what, &e.to_string()))?;
            if !may_dial(&role) {
                return Err(bad(&what, &format!("{role} cannot dial")));
            }
            let mut list = HashMap::new();
            for allowed in &entry.allowed {
                let dest = destination(&allowed.host, allowed.port)
                    .map_err(|e| bad(&format!("list of {role}"), &e.message))?;
                let private = if allowed.private_allowed {
                    Private::Allowed
                } else {
                    Private::Refused
                };
                // Said twice: the stricter counts.
                list.entry(dest)
                    .and_modify(|known| {
                        if private == Private::Refused {
                            *known = private;
                        }
                    })
                    .or_insert(private);
            }
            if roles.insert(role, list).is_some() {
                return Err(bad(&what, "its role has a list already"));
            }
        }
        Ok(Self { roles })
    }

    /// Whether `role` may dial `dest`, before its name is resolved.
    ///
    /// # Errors
    /// `dial.not_listed`; `dial.private_address` for a metadata service's name, listed or not.
    pub fn check(&self, role: &Role, dest: &Destination) -> Result<Private, Refusal> {
        let listed = self.roles.get(role).and_then(|list| list.get(dest));
        let Some(private) = listed else {
            return Err(Refusal::new(
                "dial.not_listed",
                format!("{dest} is not among the destinations of {role}"),
            ));
        };
        if METADATA_NAMES.contains(&dest.host().as_str()) {
            return Err(Refusal::new(
                "dial.private_address",
                format!("{} is the name of a metadata service", dest.host()),
            ));
        }
        Ok(*private)
    }
}

/// Host and port of a message as a destination.
///
/// # Errors
/// `dial.bad_destination`; the message names the rule and does not repeat the text.
pub fn destination(host: &str, port: u32) -> Result<Destination, Refusal> {
    let refuse =
        |e: clawdbot_identity::IdError| Refusal::new("dial.bad_destination", e.to_string());
    let host = HostName::parse(host).map_err(refuse)?;
    Destination::new(host, u16::try_from(port).unwrap_or(0)).map_err(refuse)
}

/// The addresses of an answer that may be dialled, in its order. What may not is dropped rather than
/// refusing the answer: a name that mixes inside and outside still reaches the outside only.
///
/// # Errors
/// `dial.private_address` when none is left.
pub fn acceptable(
    dest: &Destination,
    addresses: &[IpAddr],
    private: Private,
) -> Result<Vec<IpAddr>, Refusal> {
    let mut kept = Vec::new();
    let mut words = Vec::new();
    for address in addresses.iter().map(IpAddr::to_canonical) {
        let (space, word) = judge(address);
        let good =
            space == Space::Public || (space == Space::Private && private == Private::Allowed);
        match good {
            true if !kept.contains(&address) => kept.push(address),
            false if !words.contains(&word) => words.push(word),
            _ => {}
        }
    }
    if kept.is_empty() {
        return Err(Refusal::new(
            "dial.private_address",
            format!(
                "{dest} leads to no address that may be dialled ({}); an address of this machine \
                 or its network must be named by the configuration",
                words.join(", ")
            ),
        ));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(text: &str) -> Role {
        Role::parse(text).unwrap()
    }

    type Allowed<'a> = &'a [(&'a str, u32, bool)];

    fn push(rows: &[(&str, Allowed<'_>)]) -> v1::Destinations {
        let roles = rows.iter().map(|(role, allowed)| v1::RoleDestinations {
            role: (*role).into(),
            allowed: allowed
                .iter()
                .map(|(host, port, private_allowed)| v1::AllowedDestination {
                    host: (*host).into(),
                    port: *port,
                    private_allowed: *private_allowed,
                })
                .collect(),
        });
        v1::Destinations {
            revision: 1,
            roles: roles.collect(),
            ..v1::Destinations::default()
        }
    }

    fn rule<T: std::fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
        result.unwrap_err().rule
    }

    #[test]
    fn a_role_dials_exactly_what_its_own_list_names() {
        let lists = Lists::parse(&push(&[
            ("model-anthropic", &[("API.Anthropic.com", 443, false)]),
            (
                "model-ollama",
                &[("127.0.0.1", 11434, true), ("::1", 11434, true)],
            ),
        ]))
        .unwrap();
        let check = |who: &str, host: &str, port| {
            lists.check(&role(who), &destination(host, port).unwrap())
        };
        assert_eq!(
            check("model-anthropic", "api.anthropic.com", 443),
            Ok(Private::Refused)
        );
        assert_eq!(
            check("model-anthropic", "API.anthropic.COM", 443),
            Ok(Private::Refused)
        );
        assert_eq!(check("model-ollama", "[::1]", 11434), Ok(Private::Allowed));
        assert_eq!(
            check("model-ollama", "::ffff:127.0.0.1", 11434),
            Ok(Private::Allowed)
        );
        for (who, host, port) in [
            ("model-anthropic", "api.anthropic.com", 80),
            ("model-anthropic", "anthropic.com", 443),
            ("model-anthropic", "x.api.anthropic.com", 443),
            ("model-anthropic", "api.anthropic.com.evil.example", 443),
            ("model-anthropic", "127.0.0.1", 11434),
            ("model-ollama", "localhost", 11434),
            ("model-ollama", "api.anthropic.com", 443),
            ("channel-telegram", "api.anthropic.com", 443),
        ] {
            assert_eq!(
                rule(check(who, host, port)),
                "dial.not_listed",
                "{who} {host}:{port}"
            );
        }
    }

    #[test]
    fn a_metadata_name_is_refused_though_it_is_listed() {
        for name in METADATA_NAMES {
            let lists = Lists::parse(&push(&[("model-x", &[(name, 80, true)])])).unwrap();
            let dest = destination(name, 80).unwrap();
            assert_eq!(
                rule(lists.check(&role("model-x"), &dest)),
                "dial.private_address"
            );
        }
    }

    #[test]
    fn a_push_with_one_bad_row_is_refused_wholly() {
        let good: &[(&str, u32, bool)] = &[("a.example", 443, false)];
        assert!(Lists::parse(&push(&[("model-a", good), ("channel-b", good)])).is_ok());
        for rows in [
            &[("gateway", good)][..],
            &[("agent-main", good)],
            &[("model-", good)],
            &[("nobody", good)],
            &[("model-a", good), ("model-a", good)],
            &[("model-a", &[("a.example", 0, false)][..])],
            &[("model-a", &[("a.example", 65_536, false)][..])],
            &[("model-a", &[("*.example", 443, false)][..])],
            &[("model-a", &[("", 443, false)][..])],
            &[("model-a", &[("0x7f.1", 443, false)][..])],
        ] {
            assert_eq!(rule(Lists::parse(&push(rows))), "dial.bad_list", "{rows:?}");
        }
    }

    #[test]
    fn of_two_words_on_one_destination_the_stricter_counts() {
        for flags in [[true, false], [false, true]] {
            let rows = flags.map(|private| ("h.example", 1, private));
            let lists = Lists::parse(&push(&[("model-a", &rows)])).unwrap();
            let dest = destination("h.example", 1).unwrap();
            assert_eq!(lists.check(&role("model-a"), &dest), Ok(Private::Refused));
        }
    }

    #[test]
    fn of_an_answer_only_what_may_be_dialled_is_kept() {
        let dest = destination("h.example", 443).unwrap();
        let ips = |list: &[&str]| -> Vec<IpAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mixed = ips(&[
            "10.0.0.1",
            "8.8.8.8",
            "169.254.169.254",
            "::1",
            "::ffff:8.8.8.8",
        ]);
        assert_eq!(
            acceptable(&dest, &mixed, Private::Refused),
            Ok(ips(&["8.8.8.8"]))
        );
        assert_eq!(
            acceptable(&dest, &mixed, Private::Allowed),
            Ok(ips(&["10.0.0.1", "8.8.8.8", "::1"]))
        );
        let inside = ips(&["10.0.0.1", "127.0.0.1", "fd00::1", "::ffff:192.168.1.1"]);
        assert_eq!(
            rule(acceptable(&dest, &inside, Private::Refused)),
            "dial.private_address"
        );
        let never = ips(&[
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "fe80::1",
            "fd00:ec2::254",
        ]);
        assert_eq!(
            rule(acceptable(&dest, &never, Private::Allowed)),
            "dial.private_address"
        );
    }
}
