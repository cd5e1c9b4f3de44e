//! Where the configuration file and the state are, from the flags, the environment and the user.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clawdbot_config::paths::{Surroundings, config_path, state_dir};

use crate::args::Global;
use crate::failure::{EXIT_USAGE, Failure};

/// The two places that everything else follows from. Absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Directory of sessions, queues, log and sockets.
    pub state: PathBuf,
    /// Configuration file, whether it exists or not.
    pub config: PathBuf,
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
        let nowhere = |error: clawdbot_config::paths::NoHome| {
            Failure::new("place", error.to_string()).exit(EXIT_USAGE)
        };
        Ok(Self {
            state: absolute(&state_dir(&around).map_err(nowhere)?)?,
            config: absolute(&config_path(&around, &Path::exists).map_err(nowhere)?)?,
        })
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
    fn without_a_flag_the_home_directory_decides_and_without_a_home_nothing_is_guessed() {
        let env = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let place = Place::among(&global(None, None), &env, 1000).unwrap();
        assert_eq!(place.state, Path::new("/home/u/.clawdbot"));
        assert_eq!(
            Place::among(&global(None, None), &|_| None, 1000)
                .unwrap_err()
                .exit,
            2
        );
    }
}
