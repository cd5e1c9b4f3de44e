//! What may be asked of the launcher. A request is taken wholly or refused; nothing is filled in,
//! nothing is looked up, no shell reads it.

use std::collections::HashSet;
use std::ffi::CString;
use std::path::{Component, PathBuf};

use clawdbot_confine::tool::ToolLimits;
use clawdbot_proto::v1;

/// Less address space than this and no program starts.
const LEAST_MEMORY: u64 = 16 * 1024 * 1024;

/// A request that can be carried out.
#[derive(Debug, PartialEq, Eq)]
pub struct Launch {
    /// Absolute path.
    pub program: CString,
    /// The program's path is the first.
    pub argv: Vec<CString>,
    /// `NAME=VALUE`.
    pub env: Vec<CString>,
    /// Below the workspace; empty for the workspace itself.
    pub cwd: PathBuf,
    /// What it may use up.
    pub limits: ToolLimits,
}

impl Launch {
    /// Checks a request.
    ///
    /// # Errors
    /// The first thing that is wrong, without the values that came with it.
    pub fn parse(request: &v1::SandboxRequest) -> Result<Self, &'static str> {
        let argv: Result<Vec<CString>, _> = request
            .argv
            .iter()
            .map(|a| CString::new(a.as_str()))
            .collect();
        let argv = argv.map_err(|_| "an argument holds a NUL byte")?;
        let program = argv.first().ok_or("there is no program")?.clone();
        if !program.as_bytes().starts_with(b"/") {
            return Err("the program must be named by its absolute path");
        }
        let mut names = HashSet::new();
        let mut env = Vec::new();
        for variable in &request.env {
            if !is_name(&variable.name) {
                return Err(
                    "a variable's name must be letters, digits and _, and not begin with a digit",
                );
            }
            if !names.insert(variable.name.as_str()) {
                return Err("a variable is named twice");
            }
            let line = CString::new(format!("{}={}", variable.name, variable.value));
            env.push(line.map_err(|_| "a variable holds a NUL byte")?);
        }
        let cwd = PathBuf::from(&request.cwd);
        if request.cwd.contains('\0')
            || !cwd
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err("the folder to work in must lie below the workspace, without . and ..");
        }
        let limits = request.limits.as_ref().ok_or("there are no limits")?;
        if limits.cpu_seconds == 0
            || limits.processes == 0
            || limits.file_bytes == 0
            || limits.memory_bytes < LEAST_MEMORY
        {
            return Err("every limit must be above zero, and memory at least 16 MiB");
        }
        Ok(Self {
            program,
            argv,
            env,
            cwd,
            limits: ToolLimits {
                cpu_seconds: limits.cpu_seconds.into(),
                memory_bytes: limits.memory_bytes,
                processes: limits.processes.into(),
                file_bytes: limits.file_bytes,
            },
        })
    }
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> v1::SandboxRequest {
        let variable = |name: &str, value: &str| v1::SandboxVariable {
            name: name.into(),
            value: value.into(),
        };
        v1::SandboxRequest {
            argv: vec!["/bin/echo".into(), "$HOME; `x`".into()],
            env: vec![variable("PATH", "/usr/bin"), variable("_x1", "a=b")],
            cwd: "src/lib".into(),
            limits: Some(v1::SandboxLimits {
                cpu_seconds: 1,
                memory_bytes: LEAST_MEMORY,
                processes: 1,
                file_bytes: 1,
            }),
        }
    }

    #[test]
    fn a_request_is_taken_to_the_letter() {
        let launch = Launch::parse(&good()).unwrap();
        assert_eq!(launch.program.as_bytes(), b"/bin/echo");
        assert_eq!(launch.argv[1].as_bytes(), b"$HOME; `x`");
        assert_eq!(launch.env[1].as_bytes(), b"_x1=a=b");
        assert_eq!(launch.cwd, PathBuf::from("src/lib"));
    }

    #[test]
    fn one_thing_that_is_wrong_refuses_the_whole() {
        let spoil: &[fn(&mut v1::SandboxRequest)] = &[
            |r| r.argv.clear(),
            |r| r.argv[0] = "echo".into(),
            |r| r.argv[0] = "bin/echo".into(),
            |r| r.argv[1] = "a\0b".into(),
            |r| r.env[0].name = String::new(),
            |r| r.env[0].name = "1A".into(),
            |r| r.env[0].name = "A=B".into(),
            |r| r.env[0].name = "_x1".into(),
            |r| r.env[0].value = "a\0".into(),
            |r| r.cwd = "/etc".into(),
            |r| r.cwd = "../x".into(),
            |r| r.cwd = "a/../../x".into(),
            |r| r.cwd = "./a".into(),
            |r| r.cwd = "a\0".into(),
            |r| r.limits = None,
            |r| r.limits.as_mut().unwrap().cpu_seconds = 0,
            |r| r.limits.as_mut().unwrap().memory_bytes = LEAST_MEMORY - 1,
            |r| r.limits.as_mut().unwrap().processes = 0,
            |r| r.limits.as_mut().unwrap().file_bytes = 0,
        ];
        for (index, spoil) in spoil.iter().enumerate() {
            let mut request = good();
            spoil(&mut request);
            assert!(Launch::parse(&request).is_err(), "change {index}");
        }
    }
}
