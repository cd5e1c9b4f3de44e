//! `clawdbot up`: checks the configuration, then becomes the supervisor. With `--chat` the supervisor runs beside a
//! chat and ends with it.

mod beside;
mod event;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clawdbot_config::{Config, FilePath};
use clawdbot_identity::DEFAULT_WORKSPACE;

use crate::args::Up;
use crate::chat::Chat;
use crate::check;
use crate::failure::{EXIT_CONFIG, EXIT_USAGE, Failure};
use crate::out::Out;
use crate::place::Place;
use crate::run::block_on;

const SUPERVISOR: &str = "clawdbot-supervisor";
const PORT: &str = "CLAWDBOT_GATEWAY_PORT";

/// Starts everything.
///
/// # Errors
/// Exit status 78 for an invalid configuration; that of the supervisor when it runs beside a chat.
pub fn run(up: &Up, chat: impl FnOnce() -> Chat, place: &Place, out: Out) -> Result<u8, Failure> {
    let loaded = check::load(place, out)?;
    let port = match up.port {
        Some(port) => Some(port),
        None => port_of(std::env::var_os(PORT))?,
    };
    let mut command = Command::new(supervisor(&own()?)?);
    command.args(arguments(up, port, place, out));
    for workspace in workspaces(&loaded.config) {
        command.args(["--workspace", &workspace]);
    }
    if up.chat {
        return block_on(beside::chat(command, chat(), out));
    }
    if out.json {
        command.arg("--json");
    }
    let error = command.exec();
    Err(Failure::new(
        "supervisor",
        format!(
            "{} cannot be started: {error}",
            command.get_program().display()
        ),
    ))
}

fn own() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        Failure::new("proc", format!("this program cannot find itself: {error}"))
            .exit(EXIT_CONFIG)
            .remedy("mount /proc and start it again")
    })
}

/// The folder of the programs that were installed with this one.
///
/// # Errors
/// When they are not where they belong.
#[cfg(target_os = "linux")]
pub fn programs() -> Result<PathBuf, Failure> {
    let supervisor = supervisor(&own()?)?;
    Ok(supervisor.parent().unwrap_or(Path::new("/")).to_owned())
}

fn arguments(up: &Up, port: Option<u16>, place: &Place, out: Out) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--state-dir".into(),
        place.state.clone().into(),
        "--config".into(),
        place.config.clone().into(),
    ];
    if let Some(port) = port {
        arguments.extend(["--port".into(), port.to_string().into()]);
    }
    if let Some(user) = &up.user {
        arguments.extend(["--user".into(), user.into()]);
    }
    if out.style.color() {
        arguments.push("--color".into());
    }
    if out.verbose {
        arguments.push("-v".into());
    }
    arguments
}

/// The folders that the configured agents work in. Agents learn them from here, before they are confined: nobody may
/// widen later what they can read.
fn workspaces(config: &Config) -> BTreeSet<String> {
    let defaults = &config.agents.defaults.workspace;
    let own = config.agents.list.iter().map(|agent| &agent.workspace);
    own.chain([defaults])
        .map(|named| named.as_ref().or(defaults.as_ref()))
        .map(|named| named.map_or(DEFAULT_WORKSPACE, FilePath::as_str).to_owned())
        .collect()
}

/// The port that the environment asks for. An empty variable asks for nothing.
fn port_of(variable: Option<OsString>) -> Result<Option<u16>, Failure> {
    let Some(value) = variable.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let port = value
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|port| *port != 0);
    let wrong = || {
        Failure::new("port", format!("{PORT} is {value:?}, which is no port"))
            .exit(EXIT_USAGE)
            .remedy("set it to a number from 1 to 65535, or unset it")
    };
    port.map(Some).ok_or_else(wrong)
}

/// The supervisor that was installed with this program.
fn supervisor(own: &Path) -> Result<PathBuf, Failure> {
    let directory = own.parent().unwrap_or(Path::new("/"));
    let places = [
        directory.join(SUPERVISOR),
        directory.join("../libexec/clawdbot").join(SUPERVISOR),
    ];
    places
        .iter()
        .find(|place| place.is_file())
        .cloned()
        .ok_or_else(|| {
            Failure::new(
                "supervisor",
                format!(
                    "{SUPERVISOR} is neither at {} nor at {}",
                    places[0].display(),
                    places[1].display()
                ),
            )
            .remedy("install all programs of Clawdbot into one directory")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Style;

    #[test]
    fn the_supervisor_is_told_everything_that_was_asked() {
        let place = Place {
            state: "/s".into(),
            config: "/c.json".into(),
            ..Place::default()
        };
        let out = Out {
            json: false,
            verbose: true,
            style: Style::PLAIN,
            err: Style::PLAIN,
        };
        let up = Up {
            port: Some(7),
            user: Some("nobody".into()),
            chat: false,
        };
        assert_eq!(
            arguments(&up, up.port, &place, out),
            [
                "--state-dir",
                "/s",
                "--config",
                "/c.json",
                "--port",
                "7",
                "--user",
                "nobody",
                "-v"
            ]
        );
        let up = Up {
            port: None,
            user: None,
            chat: false,
        };
        let out = Out {
            verbose: false,
            ..out
        };
        assert_eq!(
            arguments(&up, None, &place, out),
            ["--state-dir", "/s", "--config", "/c.json"]
        );
    }

    #[test]
    fn every_agents_folder_is_named_and_the_default_where_there_is_none() {
        let workspaces = |text: &str| {
            let loaded = clawdbot_config::parse("c", text.as_bytes());
            let found = workspaces(&loaded.unwrap_or_else(|e| panic!("{}", e.first())).config);
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(workspaces("{}"), ["~/clawd"]);
        assert_eq!(
            workspaces(
                "{ agents: { defaults: { workspace: '~/w' }, list: [{ id: 'a' }, { id: 'b', workspace: '/srv/b' }] } }"
            ),
            ["/srv/b", "~/w"]
        );
    }

    #[test]
    fn the_supervisor_is_found_beside_this_program_or_in_libexec() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("bin/clawdbot");
        let missing = supervisor(&own).unwrap_err();
        assert!(
            missing.message.contains("bin/clawdbot-supervisor"),
            "{}",
            missing.message
        );
        for place in ["libexec/clawdbot", "bin"] {
            let directory = root.path().join(place);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::create_dir_all(root.path().join("bin")).unwrap();
            std::fs::write(directory.join(SUPERVISOR), "").unwrap();
            let found = supervisor(&own).unwrap().canonicalize().unwrap();
            assert_eq!(found, directory.join(SUPERVISOR).canonicalize().unwrap());
        }
    }

    #[test]
    fn the_environments_port_is_a_port_or_an_error() {
        assert_eq!(port_of(None).unwrap(), None);
        assert_eq!(port_of(Some("".into())).unwrap(), None);
        assert_eq!(port_of(Some("18790".into())).unwrap(), Some(18790));
        for wrong in ["0", "70000", "x", "-1", " 1"] {
            assert_eq!(
                port_of(Some(wrong.into())).unwrap_err().exit,
                EXIT_USAGE,
                "{wrong}"
            );
        }
    }
}
