//! What the service manager says of one service, for checks that compare it with what it should be.

use super::Unit;

/// One service as its manager knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFact {
    pub id: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, …
    pub load: String,
    /// `enabled`, `disabled`, `static`, `masked`, …
    pub file_state: String,
    /// `active`, `activating`, `failed`, `inactive`, …
    pub active: String,
    pub sub: String,
    /// `success`, `exit-code`, `signal`, `watchdog`, …
    pub result: String,
    /// The exit status, or the number of the signal.
    pub status: i32,
    pub restarts: u32,
    pub pid: u32,
    pub words: String,
    pub fragment: String,
    pub drop_ins: Vec<String>,
    /// A file changed since the manager read it.
    pub stale: bool,
}

impl UnitFact {
    pub fn of(unit: &Unit) -> Self {
        let text = |name: &str| unit.get(name).to_owned();
        let number = |name: &str| u32::try_from(unit.number(name)).unwrap_or(u32::MAX);
        let drop_ins = unit.get("DropInPaths").split_whitespace();
        Self {
            id: text("Id"),
            load: text("LoadState"),
            file_state: text("UnitFileState"),
            active: text("ActiveState"),
            sub: text("SubState"),
            result: text("Result"),
            status: unit.get("ExecMainStatus").parse().unwrap_or(0),
            restarts: number("NRestarts"),
            pid: number("MainPID"),
            words: text("StatusText"),
            fragment: text("FragmentPath"),
            drop_ins: drop_ins.map(str::to_owned).collect(),
            stale: unit.get("NeedDaemonReload") == "yes",
        }
    }

    /// Whether it does its work.
    pub fn runs(&self) -> bool {
        self.active == "active" || self.active == "reloading"
    }
}
