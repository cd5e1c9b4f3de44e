//! The processes that are tried, each a column of the matrix.

/// How a process is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Over the control descriptor.
    Single,
    /// With named sockets, as a service manager does.
    System,
    /// The supervisor's limits.
    Supervisor,
    /// A program in a tool call's box.
    Tool,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    /// How it is started.
    pub place: Place,
    /// Its key in the table.
    pub key: &'static str,
    /// Its role on edges; empty for what has none.
    pub role: &'static str,
    /// Its own folder below the state directory; empty for who keeps nothing.
    pub own: &'static str,
}

/// Key, role and own folder of everything that is confined by a profile.
const SERVICES: &[(&str, &str, &str)] = &[
    ("gateway", "gateway", "queue"),
    ("policy", "policy", "pairing"),
    ("broker", "broker", "credentials"),
    ("dialer", "dialer", ""),
    ("agent-main", "agent-main", "sessions/main"),
    ("agent-guest", "agent-guest", "sessions/guest"),
    ("model", "model-openai", ""),
    ("channel", "channel-telegram", "channels/telegram"),
    ("executor", "executor", ""),
    ("keyring", "keyring", ""),
];

fn services(place: Place) -> impl Iterator<Item = Column> {
    SERVICES.iter().map(move |(key, role, own)| Column {
        place,
        key,
        role,
        own,
    })
}

/// Single-user mode: every process there is.
pub fn columns() -> Vec<Column> {
    let other = |place, key| Column {
        place,
        key,
        role: "",
        own: "",
    };
    services(Place::Single)
        .chain([
            other(Place::Supervisor, "supervisor"),
            other(Place::Tool, "tool"),
        ])
        .collect()
}

/// System mode: all that a service manager starts. It has no keyring helper.
pub fn system_columns() -> Vec<Column> {
    services(Place::System)
        .filter(|column| column.key != "keyring")
        .collect()
}

impl Column {
    /// The program's name and its instance.
    pub fn program(&self) -> (&'static str, Option<&'static str>) {
        match self.role {
            "channel-telegram" => (self.role, None),
            role => match role.split_once('-') {
                Some((program, instance)) => (program, Some(instance)),
                None => (role, None),
            },
        }
    }
}
