//! The arguments, which come from `clawdbot up`.

use std::path::PathBuf;

/// What to run and how to show it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) state_dir: PathBuf,
    pub(crate) config: PathBuf,
    /// Zero when the configuration decides.
    pub(crate) port: u16,
    /// Whom root becomes.
    pub(crate) user: Option<String>,
    /// Where the programs lie, if not beside this one.
    pub(crate) programs: Option<PathBuf>,
    /// Folders that agents work in, as the configuration has them; none means the default.
    pub(crate) workspaces: Vec<String>,
    pub(crate) json: bool,
    pub(crate) color: bool,
    pub(crate) verbose: bool,
}

/// How it is called.
pub(crate) const USAGE: &str = "usage: clawdbot-supervisor --state-dir DIR --config FILE [--port N] [--user U] [--workspace DIR]... [--programs DIR] [--json] [--color] [-v]\n\
                                It is started by `clawdbot up`, which checks the configuration first.";

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// With the argument that is wrong.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = std::ffi::OsString>,
    ) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        let (mut state_dir, mut config) = (None, None);
        let (mut port, mut user) = (0, None);
        let (mut programs, mut workspaces) = (None, Vec::new());
        let (mut json, mut color, mut verbose) = (false, false, false);
        while let Some(argument) = arguments.next() {
            let name = argument.to_string_lossy().into_owned();
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{name} needs a value\n{USAGE}"))
            };
            match name.as_str() {
                "--state-dir" => state_dir = Some(PathBuf::from(value()?)),
                "--config" => config = Some(PathBuf::from(value()?)),
                "--port" => {
                    let text = value()?.to_string_lossy().into_owned();
                    port = text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                        format!("--port {text}: a port is a number from 1 to 65535")
                    })?;
                }
                "--workspace" => workspaces.push(value()?.to_string_lossy().into_owned()),
                "--programs" => programs = Some(PathBuf::from(value()?)),
                "--user" => user = Some(value()?.to_string_lossy().into_owned()),
                "--json" => json = true,
                "--color" => color = true,
                "-v" | "--verbose" => verbose = true,
                _ => return Err(format!("{name} is not known here\n{USAGE}")),
            }
        }
        let state_dir = state_dir.filter(|dir| dir.is_absolute());
        let config = config.filter(|file| file.is_absolute());
        let (Some(state_dir), Some(config)) = (state_dir, config) else {
            return Err(format!(
                "--state-dir and --config need absolute paths\n{USAGE}"
            ));
        };
        Ok(Self {
            state_dir,
            config,
            port,
            user,
            programs,
            workspaces,
            json,
            color,
            verbose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn what_clawdbot_up_passes_is_understood() {
        let options =
            parse("--state-dir /s --config /c --port 18789 --user bob --workspace ~/w --json -v")
                .unwrap();
        assert_eq!(options.port, 18789);
        assert_eq!(options.user.as_deref(), Some("bob"));
        assert_eq!(options.workspaces, ["~/w"]);
        assert!(options.json && options.verbose && !options.color);
        assert_eq!(options.programs, None);
    }

    #[test]
    fn programs_may_lie_elsewhere() {
        let options = parse("--state-dir /s --config /c --programs /p").unwrap();
        assert_eq!(options.programs, Some(PathBuf::from("/p")));
    }

    #[test]
    fn a_wrong_argument_is_named() {
        for (line, named) in [
            ("--state-dir /s --config /c --port 0", "--port 0"),
            ("--state-dir /s --config /c --port 70000", "--port 70000"),
            ("--state-dir /s --config", "--config needs a value"),
            ("--state-dir s --config /c", "absolute"),
            ("--what", "--what"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
