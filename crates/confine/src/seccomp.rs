//! The system call filter of a profile: one program that lets the listed calls through and kills the
//! process at any other, and one per error number for what is refused with an answer. The kernel
//! takes the strictest verdict of all programs.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

pub use crate::profile::Mode;

#[cfg(feature = "drop-row")]
pub use drop_row::name as row_name;
#[cfg(target_os = "linux")]
pub use linux::{Compiled, apply, compile};

/// Why a filter could not be made or put in force.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// A profile's rows do not make a program.
    #[error("the filter of profile {profile} cannot be compiled: {reason}")]
    Compile {
        /// The profile's name.
        profile: &'static str,
        /// What the compiler says.
        reason: String,
    },
    /// The kernel has filters and refuses this one; the process must end.
    #[error("the kernel refuses the filter: {0}")]
    Refused(String),
    /// A part of the filter is in force and the rest was refused; the process must end.
    #[error("the kernel took only a part of the filter: {0}")]
    Incomplete(String),
}

#[cfg(feature = "drop-row")]
mod drop_row;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    use super::{Mode, SeccompError};
    use crate::profile::{Arch, Condition, Profile, Row, Value};

    /// Programs ready for [`apply`], in their order.
    #[derive(Debug)]
    pub struct Compiled {
        programs: Vec<BpfProgram>,
    }

    impl Compiled {
        /// What the kernel is given, in its order.
        #[must_use]
        pub fn programs(&self) -> &[BpfProgram] {
            &self.programs
        }
    }

    /// Compiles the filter of a profile for the process that calls.
    ///
    /// # Errors
    /// [`SeccompError::Compile`]; the tests compile every profile in every mode.
    pub fn compile(profile: &Profile, mode: Mode) -> Result<Compiled, SeccompError> {
        let arch = Arch::own().ok_or_else(|| SeccompError::Compile {
            profile: profile.name,
            reason: format!("there are no tables for {}", std::env::consts::ARCH),
        })?;
        compile_for(profile, mode, arch)
    }

    /// The same for any architecture.
    pub(super) fn compile_for(
        profile: &Profile,
        mode: Mode,
        arch: Arch,
    ) -> Result<Compiled, SeccompError> {
        let failed = |error: &dyn ToString| SeccompError::Compile {
            profile: profile.name,
            reason: error.to_string(),
        };
        let target = match arch {
            Arch::X86_64 => TargetArch::x86_64,
            Arch::Aarch64 => TargetArch::aarch64,
        };
        let program = |rows: &mut dyn Iterator<Item = &Row>, matched, other| {
            let rules = rules(rows, arch).map_err(|error| failed(&error))?;
            let filter = SeccompFilter::new(rules, other, matched, target)
                .map_err(|error| failed(&error))?;
            BpfProgram::try_from(filter).map_err(|error| failed(&error))
        };
        let mut errnos: Vec<i32> = profile.rows(mode).filter_map(|row| row.errno).collect();
        errnos.sort_unstable();
        errnos.dedup();
        let mut programs = Vec::new();
        for errno in errnos {
            let mut rows = profile.rows(mode).filter(|row| row.errno == Some(errno));
            let answer = SeccompAction::Errno(errno.unsigned_abs());
            programs.push(program(&mut rows, answer, SeccompAction::Allow)?);
        }
        // Last, since it lets no further program through. It lets pass what the others answer:
        // exactly the same rows, so nothing passes all of them.
        let all = profile.rows(mode);
        #[cfg(feature = "drop-row")]
        let all = all.filter(super::drop_row::kept(profile));
        let mut all = all;
        programs.push(program(
            &mut all,
            SeccompAction::Allow,
            SeccompAction::KillProcess,
        )?);
        Ok(Compiled { programs })
    }

    /// Puts the filter in force for this thread and all that it starts; sets `no_new_privs`.
    /// False when the kernel has no filters.
    ///
    /// # Errors
    /// [`SeccompError::Refused`] and [`SeccompError::Incomplete`]: the process must end.
    pub fn apply(compiled: &Compiled) -> Result<bool, SeccompError> {
        for (index, program) in compiled.programs.iter().enumerate() {
            match seccompiler::apply_filter(program) {
                Ok(()) => {}
                Err(error) if index == 0 => return missing(&error),
                Err(error) => return Err(SeccompError::Incomplete(error.to_string())),
            }
        }
        Ok(true)
    }

    /// What the answer to the first program says: a kernel without the call answers ENOSYS, one without
    /// filters EINVAL. Anything else, such as no memory, is no reason to run without.
    pub(super) fn missing(error: &seccompiler::Error) -> Result<bool, SeccompError> {
        match error {
            seccompiler::Error::Seccomp(answer)
                if matches!(answer.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) =>
            {
                Ok(false)
            }
            other => Err(SeccompError::Refused(other.to_string())),
        }
    }

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    /// The rows by call; a call with a row without conditions needs no other row.
    fn rules(rows: &mut dyn Iterator<Item = &Row>, arch: Arch) -> seccompiler::Result<Rules> {
        let mut rules = Rules::new();
        let mut always = Vec::new();
        for row in rows {
            let Some(number) = row.numbers.on(arch) else {
                continue;
            };
            if row.conditions.is_empty() {
                always.push(number);
                continue;
            }
            let conditions: Result<Vec<_>, _> = row.conditions.iter().map(condition).collect();
            rules
                .entry(number)
                .or_default()
                .push(SeccompRule::new(conditions?)?);
        }
        // For the compiler, no rule means no condition.
        rules.extend(always.into_iter().map(|number| (number, Vec::new())));
        Ok(rules)
    }

    fn condition(condition: &Condition) -> Result<SeccompCondition, seccompiler::BackendError> {
        let length = if condition.wide {
            SeccompCmpArgLen::Qword
        } else {
            SeccompCmpArgLen::Dword
        };
        let operator = match (condition.mask, condition.equal) {
            (Some(mask), _) => SeccompCmpOp::MaskedEq(mask),
            (None, true) => SeccompCmpOp::Eq,
            (None, false) => SeccompCmpOp::Ne,
        };
        let value = match condition.value {
            Value::Number(number) => number,
            Value::OwnPid => u64::from(std::process::id()),
        };
        SeccompCondition::new(condition.argument, length, operator, value)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod expect;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod programs;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
