//! What the configuration needs of the service manager beyond what is installed: the front door's address where it is not
//! the usual one, and for each provider that the package does not know a user and the sockets of its edges. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clawdbot_config::{Bind, Config};
use clawdbot_identity::{InstanceName, ProviderId, Role};
use clawdbot_proto::edges::edge;
use clawdbot_service::system::{
    LISTENER_UNIT, MODELS, TARGET, USER_MAX, clients_of, has_user_name, roles, service_unit,
    socket_group, socket_path, socket_unit, user_of,
};
use serde_json::Value;

/// First line of every file that is written here; what lacks it is somebody else's and is left alone.
pub const MARK: &str = "# Written by `clawdbot apply`, which also removes it; edits here get lost.";
/// Where the administrator's units are.
pub const UNITS: &str = "/etc/systemd/system";
/// The users of providers.
pub const USERS: &str = "/etc/sysusers.d/clawdbot-instances.conf";
/// Where the front door listens as installed.
pub const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18789);

/// Networks whose members are taken for the local network, tailnets included.
const LAN: &str = "localhost 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 100.64.0.0/10 fc00::/7 fe80::/10";

/// What the configuration says that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Where the front door listens.
    address: SocketAddr,
    /// For the local network.
    lan: bool,
    /// Providers that somebody described with an address of their own.
    providers: Vec<ProviderId>,
}

/// What must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The front door's address.
    pub address: SocketAddr,
    /// Providers with units of their own.
    pub providers: BTreeSet<InstanceName>,
    /// Files by path, with their text.
    pub files: BTreeMap<PathBuf, String>,
    /// The sockets of these providers' edges, with the server of each.
    pub sockets: BTreeMap<String, Role>,
    /// Their users.
    pub users: BTreeSet<String>,
    /// What cannot be had, one sentence each.
    pub refused: Vec<String>,
}

/// The drop-in with the front door's address.
pub fn listener_file() -> PathBuf {
    PathBuf::from(UNITS).join(format!("{LISTENER_UNIT}.d/50-clawdbot-apply.conf"))
}

/// The drop-in that has the target want the sockets.
pub fn target_file() -> PathBuf {
    PathBuf::from(UNITS).join(format!("{TARGET}.d/50-clawdbot-apply.conf"))
}

impl Needs {
    /// By the file.
    pub fn of(config: &Config) -> Self {
        let gateway = &config.gateway;
        let described = config.models.providers.iter();
        let described = described.filter(|(_, provider)| provider.base_url.is_some());
        Self {
            address: address(gateway.bind, gateway.custom_bind_host, gateway.port.get()),
            lan: gateway.bind == Bind::Lan,
            providers: described.map(|(id, _)| id.clone()).collect(),
        }
    }

    /// By all settings as JSON, which is what an operator gets who may not read the file.
    pub fn of_settings(settings: &Value) -> Option<Self> {
        let gateway = &settings["gateway"];
        let bind = gateway["bind"].as_str()?;
        let kinds = [Bind::Lan, Bind::Custom];
        let bind = kinds
            .into_iter()
            .find(|kind| kind.as_str() == bind)
            .unwrap_or(Bind::Loopback);
        let host = gateway["customBindHost"]
            .as_str()
            .and_then(|host| host.parse().ok());
        let port = u16::try_from(gateway["port"].as_u64()?).ok()?;
        let described = settings["models"]["providers"].as_object();
        let described = described
            .into_iter()
            .flatten()
            .filter(|(_, provider)| provider["baseUrl"].is_string());
        Some(Self {
            address: address(bind, host, port),
            lan: bind == Bind::Lan,
            providers: described
                .filter_map(|(id, _)| ProviderId::parse(id).ok())
                .collect(),
        })
    }
}

impl Wanted {
    /// By the configuration.
    pub fn of(needs: &Needs) -> Self {
        let mut wanted = Self {
            address: needs.address,
            providers: BTreeSet::new(),
            files: BTreeMap::new(),
            sockets: BTreeMap::new(),
            users: BTreeSet::new(),
            refused: Vec::new(),
        };
        if wanted.address != USUAL {
            let text = listener_text(needs.lan, wanted.address);
            wanted.files.insert(listener_file(), text);
        }
        for provider in &needs.providers {
            if !MODELS.contains(&provider.as_str()) {
                wanted.add(&InstanceName::from(provider));
            }
        }
        wanted.write_lists();
        wanted
    }

    fn add(&mut self, name: &InstanceName) {
        let Ok(role) = Role::parse(&format!("model-{name}")) else {
            return;
        };
        if !has_user_name(&role) {
            let most = USER_MAX.saturating_sub(user_of(&role).len() - name.as_str().len());
            self.refused.push(format!(
                "models.providers.{name}: the name of a provider has at most {most} characters where each has a user of its own"
            ));
            return;
        }
        for (server, client) in edges(&role) {
            let unit = socket_unit(&server, &client);
            let path = PathBuf::from(UNITS).join(&unit);
            self.files.insert(path, socket_text(&server, &client));
            self.sockets.insert(unit, server);
        }
        self.users.insert(user_of(&role));
        self.providers.insert(name.clone());
    }

    fn write_lists(&mut self) {
        if self.providers.is_empty() {
            return;
        }
        let mut users = format!("{MARK}\n");
        for (user, name) in self.users.iter().zip(&self.providers) {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                users,
                "u {user} - \"Clawdbot model-{name}\" /nonexistent /usr/sbin/nologin"
            );
        }
        let mut target = format!("{MARK}\n\n[Unit]\n");
        for unit in self.sockets.keys() {
            let _ = writeln!(target, "Wants={unit}");
        }
        self.files.insert(PathBuf::from(USERS), users);
        self.files.insert(target_file(), target);
    }
}

/// The edges of one provider's worker: who calls it, and whom it calls.
fn edges(role: &Role) -> Vec<(Role, Role)> {
    let called = clients_of(role)
        .into_iter()
        .map(|client| (role.clone(), client));
    let servers = roles()
        .into_iter()
        .filter(|server| edge(role.as_str(), server.as_str()).is_some());
    called
        .chain(servers.map(|server| (server, role.clone())))
        .collect()
}

/// The same text as the package has for its own edges, but for the first line.
fn socket_text(server: &Role, client: &Role) -> String {
    format!(
        "{MARK}

[Unit]
Description=Clawdbot: {server}'s socket for {client}
PartOf={TARGET}
StartLimitIntervalSec=0

[Socket]
ListenStream={}
SocketUser=root
SocketGroup={}
SocketMode=0660
DirectoryMode=0755
RemoveOnStop=yes
FileDescriptorName={client}
Service={}
FlushPending=yes
TriggerLimitIntervalSec=10s
TriggerLimitBurst=100
",
        socket_path(server, client).display(),
        socket_group(client),
        service_unit(server),
    )
}

/// The address must not have to be there yet when the machine starts, and the filter has to let in whom it is for.
fn listener_text(lan: bool, address: SocketAddr) -> String {
    let mut text = format!("{MARK}\n\n[Socket]\nListenStream=\nListenStream={address}\n");
    if !address.ip().is_loopback() {
        let from = if lan { LAN } else { "any" };
        let _ = write!(text, "FreeBind=yes\nIPAddressAllow={from}\n");
    }
    text
}

/// Where policy says that the front door listens.
fn address(bind: Bind, custom: Option<IpAddr>, port: u16) -> SocketAddr {
    let ip = match bind {
        Bind::Lan => Ipv4Addr::UNSPECIFIED.into(),
        Bind::Custom => custom.unwrap_or(USUAL.ip()),
        // The last two are not there yet; policy says so.
        Bind::Loopback | Bind::Tailnet | Bind::Auto => USUAL.ip(),
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Wanted {
        let loaded = clawdbot_config::parse("test", text.as_bytes())
            .unwrap_or_else(|error| panic!("{}", error.render(false)));
        let needs = Needs::of(&loaded.config);
        assert_eq!(
            Needs::of_settings(&loaded.to_json()),
            Some(needs.clone()),
            "{text}"
        );
        Wanted::of(&needs)
    }

    #[test]
    fn what_the_package_brings_needs_nothing() {
        for text in [
            "{}",
            "{gateway: {port: 18789, bind: 'loopback'}}",
            "{models: {providers: {openai: {baseUrl: 'http://127.0.0.1:1/v1'}, groq: {}}}}",
            "{models: {providers: {nowhere: {}}}}",
        ] {
            let wanted = wanted(text);
            assert!(
                wanted.files.is_empty() && wanted.users.is_empty(),
                "{text}: {wanted:?}"
            );
            assert_eq!(wanted.address, USUAL);
        }
    }

    #[test]
    fn another_address_is_a_drop_in_that_lets_in_whom_it_is_for() {
        let token = "auth: {token: '8c0e1f6b7a2d4953a1b2c3d4e5f60718'}";
        for (text, address, more) in [
            ("port: 4000", "127.0.0.1:4000", ""),
            (
                "bind: 'lan'",
                "0.0.0.0:18789",
                "FreeBind=yes\nIPAddressAllow=localhost 10.0.0.0/8",
            ),
            (
                "bind: 'custom', customBindHost: '192.168.1.9'",
                "192.168.1.9:18789",
                "FreeBind=yes\nIPAddressAllow=any\n",
            ),
            (
                "bind: 'custom', customBindHost: '::1', port: 5",
                "[::1]:5",
                "",
            ),
        ] {
            let wanted = wanted(&format!("{{gateway: {{{text}, {token}}}}}"));
            assert_eq!(wanted.address.to_string(), address);
            let expected =
                format!("{MARK}\n\n[Socket]\nListenStream=\nListenStream={address}\n{more}");
            let file = &wanted.files[&listener_file()];
            assert!(file.starts_with(&expected), "{file}");
            assert_eq!(file.contains("IPAddressAllow"), !more.is_empty());
            assert_eq!(wanted.files.len(), 1);
        }
    }

    #[test]
    fn a_provider_of_ones_own_gets_a_user_and_a_socket_for_each_of_its_edges() {
        let wanted = wanted("{models: {providers: {box: {baseUrl: 'http://10.0.0.9/v1'}}}}");
        let sockets: Vec<_> = wanted.sockets.keys().map(String::as_str).collect();
        assert_eq!(
            sockets,
            [
                "clawdbot-broker-from-model-box.socket",
                "clawdbot-dialer-from-model-box.socket",
                "clawdbot-model-box-from-agent-guest.socket",
                "clawdbot-model-box-from-agent-main.socket",
                "clawdbot-policy-from-model-box.socket",
            ]
        );
        assert_eq!(
            wanted.files[&PathBuf::from(USERS)],
            format!(
                "{MARK}\nu clawdbot-model-box - \"Clawdbot model-box\" /nonexistent /usr/sbin/nologin\n"
            )
        );
        let target = &wanted.files[&target_file()];
        assert_eq!(target.matches("\nWants=").count(), 5, "{target}");
        let socket =
            &wanted.files[&PathBuf::from(UNITS).join("clawdbot-model-box-from-agent-main.socket")];
        for line in [
            "ListenStream=/run/clawdbot/model-box/agent-main.sock",
            "SocketGroup=clawdbot-agent-main",
            "SocketMode=0660",
            "FileDescriptorName=agent-main",
            "Service=clawdbot-model@box.service",
            "PartOf=clawdbot.target",
            "StartLimitIntervalSec=0",
        ] {
            assert!(
                socket.lines().any(|found| found == line),
                "{line}: {socket}"
            );
        }
        assert_eq!(wanted.files.len(), 7);
    }

    #[test]
    fn a_socket_of_ones_own_provider_is_like_those_of_the_package() {
        let repository = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let units = PathBuf::from(repository).join("../../systemd/system");
        let body = |text: &str| text.split_once('\n').unwrap().1.to_owned();
        let wanted = wanted("{models: {providers: {box: {baseUrl: 'http://10.0.0.9/v1'}}}}");
        for unit in wanted.sockets.keys() {
            let path = units.join(unit.replace("model-box", "model-openrouter"));
            let shipped = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let ours = &wanted.files[&PathBuf::from(UNITS).join(unit)];
            let expected = body(&shipped)
                .replace("model-openrouter", "model-box")
                .replace("model@openrouter", "model@box");
            assert_eq!(body(ours), expected);
        }
    }

    #[test]
    fn a_name_too_long_for_a_user_is_refused_with_the_limit() {
        let long = "a".repeat(17);
        let wanted = wanted(&format!(
            "{{models: {{providers: {{{long}: {{baseUrl: 'http://10.0.0.9/v1'}}}}}}}}"
        ));
        assert!(wanted.files.is_empty());
        assert!(
            wanted.refused[0].contains("at most 16 characters"),
            "{:?}",
            wanted.refused
        );
    }
}
