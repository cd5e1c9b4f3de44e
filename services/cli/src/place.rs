//! Which assistant is meant, and where its configuration file and its state are. The first of these that holds:
//!
//! 1. `CLAWDBOT_RUNTIME_DIR`, which only the units of a service manager have: the system's, in the folders of the variables.
//! 2. A flag or variable names the state directory or the file: the one that a person runs there.
//! 3. The package's units are installed, and no `clawdbot up` of this user answers in the home directory: the system's.
//! 4. The one in the home directory.
//!
//! `clawdbot up` is always one that a person runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clawdbot_config::paths::{Surroundings, config_path, state_dir};
use clawdbot_service::system;

use crate::args::Global;
use crate::failure::{EXIT_USAGE, Failure};

/// Where the package and the administrator have units.
const UNITS: [&str; 2] = ["usr/lib/systemd/system", "etc/systemd/system"];

/// The two places that everything else follows from. Absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Directory of sessions, queues, log and sockets.
    pub state: PathBuf,
    /// Configuration file, whether it exists or not.
    pub config: PathBuf,
    /// The flags that lead here, as a shell takes them, each with a blank before it.
    pub flags: String,
    /// Who starts the processes.
    pub mode: Mode,
}

/// Who starts the processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mode {
    /// `clawdbot up`, as one user.
    #[default]
    Single,
    /// The system's service manager, each process with a user of its own.
    System {
        /// Folder of the sockets.
        runtime: PathBuf,
    },
}

impl Mode {
    /// For scripts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::System { .. } => "system",
        }
    }
}

/// What a choice depends on, besides the flags.
struct World<'a> {
    env: &'a dyn Fn(&str) -> Option<OsString>,
    euid: u32,
    /// Whether the package's units are there.
    installed: &'a dyn Fn() -> bool,
    /// Whether somebody answers in this state directory.
    answers: &'a dyn Fn(&Path) -> bool,
}

/// Whether the units of the package are installed on this machine.
pub fn installed() -> bool {
    installed_in(Path::new("/"))
}

/// A link to `/dev/null` is no unit: that is how a removed package leaves its units, masked.
fn installed_in(root: &Path) -> bool {
    UNITS
        .iter()
        .any(|folder| root.join(folder).join(system::TARGET).is_file())
}

impl Place {
    /// Looks at the flags first, then at the environment.
    ///
    /// # Errors
    /// When there is neither a flag nor a home directory to go by.
    pub fn find(global: &Global) -> Result<Self, Failure> {
        let euid = rustix::process::geteuid().as_raw();
        Self::chosen(
            global,
            &World {
                env: &|name| std::env::var_os(name),
                euid,
                installed: &installed,
                answers: &crate::dial::answers,
            },
        )
    }

    /// The one that a person runs, for `clawdbot up`.
    ///
    /// # Errors
    /// When there is neither a flag nor a home directory to go by.
    pub fn single(global: &Global) -> Result<Self, Failure> {
        let euid = rustix::process::geteuid().as_raw();
        Self::among(global, &|name| std::env::var_os(name), euid)
    }

    /// Whether it is the system's.
    pub fn is_system(&self) -> bool {
        self.mode != Mode::Single
    }

    fn chosen(global: &Global, world: &World<'_>) -> Result<Self, Failure> {
        let set = |name: &str| (world.env)(name).filter(|value| !value.is_empty());
        let or = |name: &str, usual: &str| {
            let path = set(name).map_or_else(|| usual.into(), PathBuf::from);
            absolute(&path)
        };
        let system = || {
            Ok(Self {
                state: or(system::STATE_VARIABLE, system::STATE)?,
                config: or(system::CONFIG_VARIABLE, system::CONFIG)?,
                flags: String::new(),
                mode: Mode::System {
                    runtime: or(system::RUNTIME_VARIABLE, system::RUNTIME)?,
                },
            })
        };
        let flagged = global.config.is_some() || global.state_dir.is_some();
        if !flagged && set(system::RUNTIME_VARIABLE).is_some() {
            return system();
        }
        let named = flagged
            || [system::STATE_VARIABLE, system::CONFIG_VARIABLE]
                .iter()
                .any(|name| set(name).is_some());
        if named || !(world.installed)() {
            return Self::among(global, world.env, world.euid);
        }
        // Root has no assistant of its own beside the system's.
        let own = match world.euid {
            0 => None,
            euid => Self::among(global, world.env, euid).ok(),
        };
        match own {
            Some(own) if (world.answers)(&own.state) => Ok(own),
            _ => system(),
        }
    }

    fn among(
        global: &Global,
        env: &dyn Fn(&str) -> Option<OsString>,
        euid: u32,
    ) -> Result<Self, Failure> {
        let home = env("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute());
        let around = Surroundings {
            state_dir: global.state_dir.as_deref(),
            config: global.config.as_deref(),
            env,
            home: home.as_deref(),
            euid,
        };
        let nowhere = |_: clawdbot_config::paths::NoHome| {
            Failure::new("place", "there is no home directory to keep the state in")
                .exit(EXIT_USAGE)
                .remedy("set HOME or CLAWDBOT_STATE_DIR, or say where with --state-dir DIR")
        };
        let state = absolute(&state_dir(&around).map_err(nowhere)?)?;
        let config = absolute(&config_path(&around, &Path::exists).map_err(nowhere)?)?;
        let mut flags = String::new();
        for (given, flag, path) in [
            (global.config.is_some(), "--config", &config),
            (global.state_dir.is_some(), "--state-dir", &state),
        ] {
            if given {
                flags.push_str(&format!(" {flag} {}", word(&path.display().to_string())));
            }
        }
        Ok(Self {
            state,
            config,
            flags,
            mode: Mode::Single,
        })
    }

    /// A command, or a sentence with commands in it, that looks where this one does: each call of `clawdbot` outside of
    /// quotes gets the flags that this call was given.
    pub fn aim(&self, text: &str) -> String {
        const NAME: &str = "clawdbot ";
        if self.flags.is_empty() {
            return text.to_owned();
        }
        let (mut out, mut quoted, mut before) = (String::new(), false, ' ');
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            match c {
                '\\' if !quoted => {
                    let escaped: String = rest.chars().take(2).collect();
                    out.push_str(&escaped);
                    before = escaped.chars().last().unwrap_or(c);
                    rest = &rest[escaped.len()..];
                    continue;
                }
                // An apostrophe inside of a word opens nothing.
                '\'' => quoted = !quoted && !before.is_alphanumeric(),
                _ => {}
            }
            if !quoted && rest.starts_with(NAME) && matches!(before, ' ' | '(' | '`') {
                out.push_str(NAME.trim_end());
                out.push_str(&self.flags);
                rest = &rest[NAME.len() - 1..];
                before = 't';
                continue;
            }
            out.push(c);
            before = c;
            rest = &rest[c.len_utf8()..];
        }
        out
    }
}

/// As one word of a shell.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:=+,@".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::new(
            "place",
            format!("{:?} is no path: {error}", path.display().to_string()),
        )
        .exit(EXIT_USAGE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(state: Option<&str>, config: Option<&str>) -> Global {
        Global {
            config: config.map(Into::into),
            state_dir: state.map(Into::into),
            json: false,
            no_color: false,
            verbose: 0,
        }
    }

    #[test]
    fn places_are_absolute_whatever_was_typed() {
        let here = std::env::current_dir().unwrap();
        let place = Place::among(&global(Some("some/state"), None), &|_| None, 1000).unwrap();
        assert_eq!(place.state, here.join("some/state"));
        assert_eq!(place.config, here.join("some/state/clawdbot.json"));
        assert!(Place::among(&global(Some(""), None), &|_| None, 1000).is_err());
    }

    #[test]
    fn a_printed_command_looks_where_this_one_does() {
        let place = |state: Option<&str>, config: Option<&str>| {
            Place::among(&global(state, config), &|_| Some("/home/u".into()), 1000).unwrap()
        };
        let both = place(Some("/it's here"), Some("/c.json"));
        let flags = " --config /c.json --state-dir '/it'\\''s here'";
        assert_eq!(both.flags, flags);
        for (command, aimed) in [
            (
                "clawdbot config set a '\"b\"'",
                "clawdbot@ config set a '\"b\"'",
            ),
            (
                "a && clawdbot b && clawdbot c",
                "a && clawdbot@ b && clawdbot@ c",
            ),
            (
                "\"${EDITOR:-vi}\" \"$(clawdbot config path)\"",
                "\"${EDITOR:-vi}\" \"$(clawdbot@ config path)\"",
            ),
            (
                "run `clawdbot doctor` again",
                "run `clawdbot@ doctor` again",
            ),
            (
                "clawdbot config set a '\"my clawdbot is\"'",
                "clawdbot@ config set a '\"my clawdbot is\"'",
            ),
            ("chmod 700 /home/clawdbot x", "chmod 700 /home/clawdbot x"),
            (
                "a 'it'\\''s clawdbot b' && clawdbot c",
                "a 'it'\\''s clawdbot b' && clawdbot@ c",
            ),
            (
                "the owner's: `clawdbot open`",
                "the owner's: `clawdbot@ open`",
            ),
            (
                "sudo apt-get install clawdbot",
                "sudo apt-get install clawdbot",
            ),
        ] {
            assert_eq!(both.aim(command), aimed.replace('@', flags));
            assert_eq!(place(None, None).aim(command), command);
        }
        assert_eq!(
            place(Some("/s"), None).aim("clawdbot up"),
            "clawdbot --state-dir /s up"
        );
    }

    #[test]
    fn what_a_removed_package_left_masked_is_not_installed() {
        use std::os::unix::fs::symlink;

        let root = tempfile::tempdir().unwrap();
        let [shipped, own] = UNITS.map(|folder| {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
            root.path().join(folder).join(system::TARGET)
        });
        assert!(!installed_in(root.path()));
        symlink("/dev/null", &own).unwrap();
        assert!(!installed_in(root.path()));
        // An installed one may be masked, too.
        std::fs::write(&shipped, "[Unit]\n").unwrap();
        assert!(installed_in(root.path()));
        // `systemctl link` has it as a link to the unit.
        std::fs::remove_file(&own).unwrap();
        std::fs::rename(&shipped, root.path().join("x.target")).unwrap();
        symlink(root.path().join("x.target"), &own).unwrap();
        assert!(installed_in(root.path()));
    }

    #[test]
    fn the_first_rule_that_holds_says_which_assistant_is_meant() {
        let own = "/home/u/.clawdbot";
        // (flag, RUNTIME_DIR, STATE_DIR, euid, installed, own answers) -> mode, state, config
        let system = system::STATE;
        for (flag, runtime, state, euid, installed, answers, expected) in [
            ("", "", "", 1000, false, false, ("single", own)),
            ("", "", "", 1000, false, true, ("single", own)),
            ("", "", "", 1000, true, false, ("system", system)),
            ("", "", "", 1000, true, true, ("single", own)),
            ("", "", "", 0, false, false, ("single", system)),
            ("", "", "", 0, true, true, ("system", system)),
            ("/s", "", "", 1000, true, false, ("single", "/s")),
            ("/s", "/r", "", 1000, true, false, ("single", "/s")),
            ("", "", "/s", 0, true, false, ("single", "/s")),
            ("", "/r", "/s", 1000, false, true, ("system", "/s")),
            ("", "/r", "", 1000, false, true, ("system", system)),
        ] {
            let env = |name: &str| match name {
                "HOME" => Some("/home/u".into()),
                system::RUNTIME_VARIABLE => Some(runtime.into()),
                system::STATE_VARIABLE => Some(state.into()),
                _ => None,
            };
            let world = World {
                env: &env,
                euid,
                installed: &|| installed,
                answers: &|folder| {
                    assert_eq!(folder, Path::new(own));
                    answers
                },
            };
            let flag = (!flag.is_empty()).then_some(flag);
            let place = Place::chosen(&global(flag, None), &world).unwrap();
            let case = format!("{flag:?} {runtime} {state} {euid} {installed} {answers}");
            assert_eq!(
                (place.mode.name(), place.state.as_path()),
                (expected.0, Path::new(expected.1)),
                "{case}"
            );
            if let Mode::System { runtime: found } = &place.mode {
                let expected = if runtime.is_empty() {
                    system::RUNTIME
                } else {
                    runtime
                };
                assert_eq!(found, Path::new(expected), "{case}");
                assert_eq!(place.config, Path::new(system::CONFIG), "{case}");
            }
        }
    }

    #[test]
    fn without_a_flag_the_home_directory_decides_and_without_a_home_nothing_is_guessed() {
        let env = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let place = Place::among(&global(None, None), &env, 1000).unwrap();
        assert_eq!(place.state, Path::new("/home/u/.clawdbot"));
        let nowhere = Place::among(&global(None, None), &|_| None, 1000).unwrap_err();
        assert_eq!(nowhere.exit, 2);
        assert!(nowhere.remedy.unwrap().contains("--state-dir"));
    }
}
