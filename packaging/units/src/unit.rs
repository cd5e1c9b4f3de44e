//! A unit file as sections of assignments. The order in which they are added is the order in the file.

use std::fmt::Write as _;

/// Begins every generated file.
pub(crate) const GENERATED: &str = "# Written by `cargo xtask docs`; changes belong into a drop-in (`systemctl edit`). The reasons: docs/hardening.md.\n";

/// A file under construction.
pub(crate) struct Unit(String);

impl Unit {
    pub(crate) fn new() -> Self {
        Self(GENERATED.into())
    }

    /// Begins a section.
    pub(crate) fn section(mut self, name: &str) -> Self {
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.0, "\n[{name}]\n");
        self
    }

    pub(crate) fn set(mut self, key: &str, value: impl AsRef<str>) -> Self {
        let _ = writeln!(self.0, "{key}={}", value.as_ref());
        self
    }

    pub(crate) fn set_all<V: AsRef<str>>(
        self,
        key: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        values
            .into_iter()
            .fold(self, |unit, value| unit.set(key, value))
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}
