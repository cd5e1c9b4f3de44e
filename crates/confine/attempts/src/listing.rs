//! The list of all attempts, by name. Its order is the order of the matrix.

use crate::answer::Answer;
use crate::world::World;

/// The descriptor that an attempt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// None.
    Nothing,
    /// A connected TCP socket that was accepted on an inherited listener.
    Accepted,
    /// What the dialer hands over for a connection.
    Dialled,
    /// One end of an edge.
    Edge,
    /// A file that is open for reading only.
    File,
}

/// One attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// `GROUP.NAME`, as in the table.
    pub name: &'static str,
    /// What has to be handed over for it.
    pub needs: Needs,
    /// Makes it.
    pub run: fn(&World) -> Answer,
}

/// A list of attempts, each a name and a function.
macro_rules! attempts {
    ($needs:ident: $($name:expr => $run:expr;)*) => {
        &[$($crate::listing::Attempt {
            name: $name,
            needs: $crate::listing::Needs::$needs,
            run: $run,
        }),*]
    };
}
pub(crate) use attempts;

/// All attempts.
pub fn all() -> impl Iterator<Item = Attempt> {
    let groups: &[&[Attempt]] = &[
        crate::files::ATTEMPTS,
        crate::files::BY_DESCRIPTOR,
        crate::net::ATTEMPTS,
        crate::reaim::ACCEPTED,
        crate::reaim::DIALLED,
        crate::unix::ATTEMPTS,
        crate::unix::BY_EDGE,
        crate::process::ATTEMPTS,
        crate::space::ATTEMPTS,
        crate::memory::ATTEMPTS,
        crate::rights::ATTEMPTS,
        crate::kernel::ATTEMPTS,
        #[cfg(target_arch = "x86_64")]
        crate::x86::ATTEMPTS,
    ];
    groups.iter().copied().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_attempts_have_the_same_name() {
        let mut names: Vec<&str> = all().map(|attempt| attempt.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| name.split('.').count() == 2));
    }
}
