//! Where the configuration and the state lie when nobody says otherwise, or how whoever does is heeded.
//! Pure: environment, home and user id are handed in. Refuses to guess when there is no home directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the places depend on.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// `--state-dir`.
    pub state_dir: Option<&'a Path>,
    /// `--config`.
    pub config: Option<&'a Path>,
    /// Looks up a variable of the environment; an empty one counts as unset.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The user's home directory.
    pub home: Option<&'a Path>,
    /// The effective user id.
    pub euid: u32,
}

/// There is no place to fall back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no home directory to keep the state in; set CLAWDBOT_STATE_DIR or use --state-dir"
)]
pub struct NoHome;

const SYSTEM_STATE: &str = "/var/lib/clawdbot";
const SYSTEM_CONFIG: &str = "/etc/clawdbot/clawdbot.json";
const FILE: &str = "clawdbot.json";

fn variable(around: &Surroundings, name: &str) -> Option<PathBuf> {
    (around.env)(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The state directory: `--state-dir`, else `CLAWDBOT_STATE_DIR`, else `/var/lib/clawdbot` for root and `~/.clawdbot`
/// for everybody else.
///
/// # Errors
/// When none of these is known.
pub fn state_dir(around: &Surroundings) -> Result<PathBuf, NoHome> {
    let named = around.state_dir.map(Path::to_owned);
    match named.or_else(|| variable(around, "CLAWDBOT_STATE_DIR")) {
        Some(directory) => Ok(directory),
        None if around.euid == 0 => Ok(SYSTEM_STATE.into()),
        None => Ok(around.home.ok_or(NoHome)?.join(".clawdbot")),
    }
}

/// The configuration file: `--config`; else, with `--state-dir`, the one in there; else `CLAWDBOT_CONFIG_PATH`; else,
/// for root without a state directory of its own choice, `/etc/clawdbot/clawdbot.json` if `exists` says so; else
/// `clawdbot.json` in the state directory. It need not exist.
///
/// # Errors
/// When the state directory is needed and not known.
pub fn config_path(
    around: &Surroundings,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<PathBuf, NoHome> {
    if let Some(file) = around.config {
        return Ok(file.to_owned());
    }
    if let Some(directory) = around.state_dir {
        return Ok(directory.join(FILE));
    }
    if let Some(file) = variable(around, "CLAWDBOT_CONFIG_PATH") {
        return Ok(file);
    }
    let system = around.euid == 0 && variable(around, "CLAWDBOT_STATE_DIR").is_none();
    if system && exists(Path::new(SYSTEM_CONFIG)) {
        return Ok(SYSTEM_CONFIG.into());
    }
    Ok(state_dir(around)?.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_wins() {
        // (--state-dir, --config, STATE_DIR, CONFIG_PATH, euid, /etc exists) -> state, config
        let user = "/home/u/.clawdbot";
        for (arg, config, state_env, config_env, euid, exists, state, file) in [
            (
                "",
                "",
                "",
                "",
                1000,
                true,
                user,
                "/home/u/.clawdbot/clawdbot.json",
            ),
            ("", "", "", "", 0, true, SYSTEM_STATE, SYSTEM_CONFIG),
            (
                "",
                "",
                "",
                "",
                0,
                false,
                SYSTEM_STATE,
                "/var/lib/clawdbot/clawdbot.json",
            ),
            ("", "", "/s", "", 0, true, "/s", "/s/clawdbot.json"),
            ("", "", "/s", "", 1000, false, "/s", "/s/clawdbot.json"),
            ("", "", "/s", "/c.json", 1000, false, "/s", "/c.json"),
            (
                "/a",
                "",
                "/s",
                "/c.json",
                1000,
                false,
                "/a",
                "/a/clawdbot.json",
            ),
            ("/a", "/x.json", "/s", "/c.json", 0, true, "/a", "/x.json"),
            ("", "/x.json", "", "", 1000, false, user, "/x.json"),
        ] {
            let set = |text: &'static str| (!text.is_empty()).then(|| Path::new(text));
            let env = |name: &str| match name {
                "CLAWDBOT_STATE_DIR" => Some(state_env.into()),
                "CLAWDBOT_CONFIG_PATH" => Some(config_env.into()),
                _ => None,
            };
            let around = Surroundings {
                state_dir: set(arg),
                config: set(config),
                env: &env,
                home: Some(Path::new("/home/u")),
                euid,
            };
            assert_eq!(state_dir(&around), Ok(state.into()));
            assert_eq!(config_path(&around, &|_| exists), Ok(file.into()));
        }
    }

    #[test]
    fn without_a_home_nothing_is_guessed() {
        let around = Surroundings {
            state_dir: None,
            config: None,
            env: &|_| None,
            home: None,
            euid: 1000,
        };
        assert_eq!(state_dir(&around), Err(NoHome));
        assert_eq!(config_path(&around, &|_| false), Err(NoHome));
    }
}
