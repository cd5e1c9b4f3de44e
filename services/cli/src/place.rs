//! Where the configuration file and the state are, from the flags, the environment and the user.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clawdbot_config::paths::{Surroundings, config_path, state_dir};

use crate::args::Global;
use crate::failure::{EXIT_USAGE, Failure};

/// The two places that everything else follows from. Absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Directory of sessions, queues, log and sockets.
    pub state: PathBuf,
    /// Configuration file, whether it exists or not.
    pub config: PathBuf,
    /// The flags that lead here, as a shell takes them, each with a blank before it.
    pub flags: String,
}

impl Place {
    /// Looks at the flags first, then at the environment.
    ///
    /// # Errors
    /// When there is neither a flag nor a home directory to go by.
    pub fn find(global: &Global) -> Result<Self, Failure> {
        Self::among(
            global,
            &|name| std::env::var_os(name),
            rustix::process::geteuid().as_raw(),
        )
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
    fn without_a_flag_the_home_directory_decides_and_without_a_home_nothing_is_guessed() {
        let env = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let place = Place::among(&global(None, None), &env, 1000).unwrap();
        assert_eq!(place.state, Path::new("/home/u/.clawdbot"));
        let nowhere = Place::among(&global(None, None), &|_| None, 1000).unwrap_err();
        assert_eq!(nowhere.exit, 2);
        assert!(nowhere.remedy.unwrap().contains("--state-dir"));
    }
}
