//! `gateway`: where the front door listens and who may enter.
//! Refuses to be open: no bind to all interfaces by a word, no mode without authentication.

use std::net::IpAddr;

use serde_json::Value as Json;

use crate::json5::{Member, Node, Object, Value};
use crate::secret::SecretField;
use crate::section::section;
use crate::shape::{Cx, Info, Kind, Shape};
use crate::types::{Int, OrFalse, Port, choice, texts};

choice! {
    /// Where the gateway listens.
    Bind {
        /// 127.0.0.1 and ::1.
        Loopback = "loopback",
        /// The addresses of the local network.
        Lan = "lan",
        /// The address in the tailnet.
        Tailnet = "tailnet",
        /// `gateway.customBindHost`.
        Custom = "custom",
        /// Loopback, or the tailnet when there is one.
        Auto = "auto",
    }
    refuse {
        "all" => "this would expose the gateway to the internet; write \"loopback\", or \"lan\" with a token or password",
        "any" => "this would expose the gateway to the internet; write \"loopback\", or \"lan\" with a token or password",
        "0.0.0.0" => "this would expose the gateway to the internet; write \"loopback\", or \"lan\" with a token or password",
    }
}

choice! {
    /// How a client proves that it may enter.
    AuthMode {
        /// A long random token.
        Token = "token",
        /// A password.
        Password = "password",
    }
    refuse {
        "none" => "anyone who can connect would have full access; write \"token\" or \"password\"",
    }
}

choice! {
    /// Where this installation's gateway runs.
    GatewayMode {
        /// Here.
        Local = "local",
        /// On another machine; this one is only a client.
        Remote = "remote",
    }
}

choice! {
    /// What a changed file does.
    ReloadMode {
        /// What can change in flight does, the rest restarts its process.
        Hybrid = "hybrid",
        /// Only what can change in flight.
        Hot = "hot",
        /// Everything restarts.
        Restart = "restart",
        /// Nothing until the next start.
        Off = "off",
    }
}

choice! {
    /// How Tailscale publishes the gateway.
    TailscaleMode {
        /// It does not.
        Off = "off",
        /// Inside the tailnet.
        Serve = "serve",
        /// To the internet.
        Funnel = "funnel",
    }
}

choice! {
    /// How a remote gateway is reached.
    RemoteTransport {
        /// Through an SSH tunnel.
        Ssh = "ssh",
        /// Directly.
        Direct = "direct",
    }
}

/// An address without a name service: `192.168.1.10`, `fd00::1`.
impl Shape for IpAddr {
    fn info() -> Info {
        Info::new(
            &[Kind::String],
            "an IP address (a string)",
            "\"192.168.1.10\"",
        )
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let text = cx.text::<Self>(&node)?;
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                cx.fail(node.span, "must be an IP address").help =
                    Some("a host name could mean another address tomorrow; for instance \"192.168.1.10\"".to_owned());
                None
            }
        }
    }

    fn show(&self) -> Json {
        self.to_string().into()
    }
}

texts! {
    /// One address or a network: `10.0.0.1`, `10.0.0.0/8`.
    Network: "an IP address or network", "10.0.0.0/8", |text| network(text).is_some();
    /// Where a web page comes from: scheme, host and port.
    Origin: "an origin or \"*\": scheme, host and port, nothing else", "https://chat.example.org", |text| {
        text == "*" || is_origin(text)
    };
    /// A path of the local file system.
    FilePath: "an absolute path or one that starts with ~/", "~/clawd", is_path, matches "^(/|~/)";
    /// The address of a web socket.
    SocketUrl: "a ws:// or wss:// address", "wss://gateway.example.org", |text| {
        url(text).is_some_and(|(scheme, _, _)| matches!(scheme, "ws" | "wss"))
    }, matches "^wss?://";
    /// The SHA-256 of a certificate.
    Fingerprint: "a SHA-256 fingerprint: 64 hexadecimal digits", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", |text| {
        let digits: Vec<char> = text.chars().filter(|c| *c != ':').collect();
        digits.len() == 64 && digits.iter().all(char::is_ascii_hexdigit)
    };
    /// An SSH destination.
    SshTarget: "an SSH destination", "me@gateway.example.org", |text| {
        // A leading dash would be read as an option by ssh.
        !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_graphic())
    };
}

impl Network {
    /// The address and the length of its prefix in bits.
    pub fn parts(&self) -> Option<(IpAddr, u8)> {
        network(self.as_str())
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(full);
    (bits <= full).then_some((address, bits))
}

/// Scheme, authority and the rest (with its leading slash) of an absolute URL without user name or white space.
pub(crate) fn url(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let clean = text.chars().all(|c| c.is_ascii_graphic()) && !authority.contains('@');
    (clean && host(authority).is_some()).then_some((scheme, authority, path))
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some("80")),
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("80")),
        },
    };
    let port: u16 = port?.parse().ok()?;
    (port > 0 && clawdbot_identity::HostName::parse(host).is_ok()).then_some(host)
}

/// Whether a host can only be this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_origin(text: &str) -> bool {
    url(text).is_some_and(|(scheme, _, path)| matches!(scheme, "http" | "https") && path.is_empty())
}

fn is_path(text: &str) -> bool {
    (text.starts_with('/') || text.starts_with("~/")) && !text.contains('\0') && text.len() <= 4096
}

section! {
    /// The front door.
    Gateway {
        /// Whether the gateway runs here or elsewhere.
        "mode" mode: GatewayMode = GatewayMode::Local;
        /// TCP port of HTTP and WebSocket.
        "port" port: Port = Port::new(18789);
        /// Addresses to listen on. If one cannot be bound, nothing else is tried.
        "bind" bind: Bind = Bind::Loopback;
        /// The address for `bind: "custom"`.
        "customBindHost" custom_bind_host: Option<IpAddr>;
        /// The operator's socket, instead of the one in the runtime directory.
        "socket" socket: Option<FilePath>, later "own operator socket path";
        /// Log-in. It is needed on loopback too.
        "auth" auth: GatewayAuth;
        /// Proxies whose X-Forwarded-For is believed.
        "trustedProxies" trusted_proxies: Vec<Network>, later "trusted proxies";
        /// Web pages of other origins that may connect; our own may always.
        "allowedOrigins" allowed_origins: Vec<Origin>;
        /// Publishing through Tailscale.
        "tailscale" tailscale: Tailscale, later "Tailscale";
        /// TLS on the listener.
        "tls" tls: Tls, later "TLS on the listener";
        /// How this machine reaches a gateway elsewhere.
        "remote" remote: Remote, later "remote gateways";
        /// What a changed file does.
        "reload" reload: Reload;
        /// HTTP interfaces for other programs.
        "http" http: Http;
    }
    also { "controlUi.allowedOrigins" => "allowedOrigins" }
    refuse {
        "nodes" => "there are no remote nodes; remove the key",
        "token" => "write it as auth: { token: … }",
    }
}

section! {
    /// Log-in at the gateway.
    GatewayAuth {
        /// What a client has to show. A file with a password and no token means `password`.
        "mode" mode: AuthMode = AuthMode::Token;
        /// The token, at least 24 characters; without one it is generated and kept in the state directory.
        "token" token: Option<SecretField>;
        /// The password, at least 12 characters.
        "password" password: Option<SecretField>;
        /// Let people in whom Tailscale vouches for.
        "allowTailscale" allow_tailscale: bool = false, later "Tailscale";
        /// Wrong attempts before an address has to wait; it holds on loopback too.
        "rateLimit" rate_limit: OrFalse<RateLimit>;
    }
    before password_means_password_mode;
}

section! {
    /// Limits on wrong attempts to log in.
    RateLimit {
        /// Wrong attempts that are allowed in the window.
        "maxAttempts" max_attempts: Int<1, 1000> = Int::new(10);
        /// Length of the window in seconds.
        "windowSeconds" window_seconds: Int<1, 86400> = Int::new(60);
        /// How long an address is locked out, in seconds.
        "lockoutSeconds" lockout_seconds: Int<1, 86400> = Int::new(300);
    }
}

section! {
    /// Publishing through Tailscale.
    Tailscale {
        /// Inside the tailnet (`serve`) or to the internet (`funnel`).
        "mode" mode: TailscaleMode = TailscaleMode::Off;
        /// Undo it at the end.
        "resetOnExit" reset_on_exit: bool = false;
    }
}

section! {
    /// TLS on the listener.
    Tls {
        /// Speak TLS.
        "enabled" enabled: bool = false;
        /// Certificate chain in PEM form.
        "certPath" cert_path: Option<FilePath>;
        /// Private key in PEM form.
        "keyPath" key_path: Option<FilePath>;
        /// Make a self-signed certificate when there is none.
        "autoGenerate" auto_generate: bool = false;
    }
}

section! {
    /// How this machine reaches a gateway elsewhere.
    Remote {
        /// Its address.
        "url" url: Option<SocketUrl>;
        /// Its token.
        "token" token: Option<SecretField>;
        /// Its password.
        "password" password: Option<SecretField>;
        /// The only certificate that is accepted.
        "tlsFingerprint" tls_fingerprint: Option<Fingerprint>;
        /// How to connect.
        "transport" transport: RemoteTransport = RemoteTransport::Direct;
        /// Destination of the SSH tunnel.
        "sshTarget" ssh_target: Option<SshTarget>;
        /// Key file of the SSH tunnel.
        "sshIdentity" ssh_identity: Option<FilePath>;
    }
}

section! {
    /// What a changed file does.
    Reload {
        /// Which changes take effect at once. A bad file never does: the last good one stays in force.
        "mode" mode: ReloadMode = ReloadMode::Hybrid;
        /// Quiet time after a change before the file is read, in milliseconds.
        "debounceMs" debounce_ms: Int<0, 60000> = Int::new(300);
    }
}

section! {
    /// HTTP interfaces for other programs.
    Http {
        /// The interfaces.
        "endpoints" endpoints: Endpoints;
    }
}

section! {
    /// The HTTP interfaces, each off by default.
    Endpoints {
        /// `/v1/chat/completions`.
        "chatCompletions" chat_completions: Endpoint;
        /// `/v1/responses`.
        "responses" responses: Endpoint;
        /// `/tools/invoke`; commands, sessions, cron and the gateway itself stay out of reach.
        "toolsInvoke" tools_invoke: Endpoint, later "tool calls over HTTP";
    }
}

section! {
    /// One HTTP interface.
    Endpoint {
        /// Serve it.
        "enabled" enabled: bool = false;
    }
}

impl Gateway {
    /// Whether the listener can be reached from other machines.
    pub fn off_loopback(&self) -> bool {
        match self.bind {
            Bind::Loopback => false,
            Bind::Custom => self.custom_bind_host.is_none_or(|host| !host.is_loopback()),
            Bind::Lan | Bind::Tailnet | Bind::Auto => true,
        }
    }
}

fn password_means_password_mode(auth: &mut Object, _: &mut Cx) {
    if auth.get("mode").is_some() || auth.get("token").is_some() {
        return;
    }
    if let Some(password) = auth.get("password") {
        let span = password.key_span;
        let value = Value::String(AuthMode::Password.as_str().to_owned().into());
        auth.0.push(Member {
            key: "mode".to_owned(),
            key_span: span,
            node: Node { span, value },
        });
    }
}
