//! The architectures that the tables are made for. Elsewhere there is no filter to be had, and a process
//! does not start without one.

/// A processor's kernel interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// Intel and AMD, 64 bits.
    X86_64,
    /// Arm, 64 bits.
    Aarch64,
}

impl Arch {
    /// Both.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    /// The one that this program was built for.
    pub fn own() -> Option<Self> {
        let own = |arch: &Arch| arch.as_str() == std::env::consts::ARCH;
        Self::ALL.into_iter().find(own)
    }

    /// As the compiler calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }
}

/// A call's number on each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// On x86_64.
    pub x86_64: Option<i32>,
    /// On aarch64; `None` where another call does the same.
    pub aarch64: Option<i32>,
}

impl Numbers {
    /// The number on one of them.
    pub fn on(self, arch: Arch) -> Option<i64> {
        let number = match arch {
            Arch::X86_64 => self.x86_64,
            Arch::Aarch64 => self.aarch64,
        };
        number.map(i64::from)
    }
}
