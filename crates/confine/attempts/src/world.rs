//! What an attempt is aimed at. The runner knows it and writes it down; nothing is looked up.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;

/// Targets by name, and the descriptor that was handed over, if there is one.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Paths, process numbers, ports, addresses.
    pub facts: BTreeMap<String, String>,
    /// The socket or file that the attempt is about.
    pub fd: Option<RawFd>,
    /// Outside of all confinement: the attempt may prepare what it needs with further calls, which
    /// inside would be refused before the one that is tried.
    pub free: bool,
}

impl World {
    /// A fact; empty where nobody said it.
    #[must_use]
    pub fn fact(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    pub(crate) fn text(&self, name: &str) -> io::Result<&str> {
        let fact = self.facts.get(name).map(String::as_str);
        fact.ok_or_else(|| io::Error::other(format!("nobody said what {name} is")))
    }

    pub(crate) fn path(&self, name: &str) -> io::Result<CString> {
        crate::sys::path(self.text(name)?)
    }

    /// A path below one of the facts.
    pub(crate) fn below(&self, name: &str, leaf: &str) -> io::Result<CString> {
        crate::sys::path(&format!("{}/{leaf}", self.text(name)?))
    }

    pub(crate) fn number(&self, name: &str) -> io::Result<usize> {
        self.text(name)?.parse().map_err(io::Error::other)
    }

    pub(crate) fn port(&self, name: &str) -> io::Result<u16> {
        self.text(name)?.parse().map_err(io::Error::other)
    }

    /// A path below `/proc/PID` of a process.
    pub(crate) fn proc(&self, process: &str, leaf: &str) -> io::Result<CString> {
        crate::sys::path(&format!("/proc/{}/{leaf}", self.number(process)?))
    }

    pub(crate) fn fd(&self) -> io::Result<usize> {
        let fd = self.fd.and_then(|fd| usize::try_from(fd).ok());
        fd.ok_or_else(|| io::Error::other("no descriptor was handed over"))
    }
}
