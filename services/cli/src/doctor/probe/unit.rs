//! The unit of a probe: what a service's unit says, read as the service manager reads it, with another program. What
//! brings sockets, credentials and folders of the real service is left away, since the probe has its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::doctor::running::assignments;

/// Settings that are no protection, and that would start, stop, feed or watch the real service's things.
const LEFT: &[&str] = &[
    "BusName",
    "CacheDirectory",
    "ConfigurationDirectory",
    "EnvironmentFile",
    "ExecCondition",
    "ExecReload",
    "ExecStart",
    "ExecStartPost",
    "ExecStartPre",
    "ExecStop",
    "ExecStopPost",
    "ExitType",
    "FileDescriptorStoreMax",
    "FileDescriptorStorePreserve",
    "GuessMainPID",
    "ImportCredential",
    "JoinsNamespaceOf",
    "LoadCredential",
    "LoadCredentialEncrypted",
    "LogsDirectory",
    "NotifyAccess",
    "OpenFile",
    "PIDFile",
    "PassEnvironment",
    "RemainAfterExit",
    "Restart",
    "RestartForceExitStatus",
    "RestartMaxDelaySec",
    "RestartMode",
    "RestartPreventExitStatus",
    "RestartSec",
    "RestartSteps",
    "RuntimeDirectory",
    "RuntimeMaxSec",
    "SetCredential",
    "SetCredentialEncrypted",
    // Its bounds are those of the real service, which must not suffer from the probe's use of them.
    "Slice",
    "Sockets",
    "StandardError",
    "StandardInput",
    "StandardOutput",
    "StateDirectory",
    "SuccessExitStatus",
    "SyslogIdentifier",
    "TimeoutAbortSec",
    "TimeoutSec",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Type",
    "WatchdogSec",
    "WatchdogSignal",
];

/// Where the package has its programs.
const PROGRAMS: &str = "/usr/libexec/clawdbot";
const PROBE: &str = "clawdbot-probe";

/// What the probe is given in place of what is left away.
pub struct Given<'a> {
    /// Where it asks what to do.
    pub socket: &'a Path,
    /// Which service it is to become, and as which instance.
    pub service: &'a [&'a str],
    /// Of the unit.
    pub instance: &'a str,
    /// Variables that tell it where its folders are.
    pub environment: &'a [(&'static str, String)],
    /// The folder of all that.
    pub folder: &'a Path,
}

/// The unit's text. `files`: the service's own file and what is dropped in beside it, in the order in which they count.
pub fn text(files: &[&str], given: &Given<'_>) -> String {
    let mut text = String::from(
        "# Written by `clawdbotctl doctor --probe`, which removes it again.\n\n\
         [Unit]\nDescription=Clawdbot: a probe that tries to break out\nCollectMode=inactive-or-failed\nStartLimitIntervalSec=0\n\n\
         [Service]\n",
    );
    let mut program = PathBuf::from(PROGRAMS).join(PROBE);
    // Writing to a String cannot fail.
    for (name, value) in files.iter().flat_map(|file| assignments("Service", file)) {
        if name == "ExecStart" {
            program = beside(&value).unwrap_or(program);
        }
        if !LEFT.contains(&name.as_str()) {
            let _ = writeln!(text, "{name}={}", specified(&value, given.instance));
        }
    }
    let (socket, folder) = (given.socket.display(), given.folder.display());
    let program = program.display();
    let service = given.service.join(" ");
    let _ = write!(
        text,
        "Type=oneshot\nExecStart={program} rounds {socket} {service}\nTimeoutStartSec=10min\nTimeoutStopSec=5s\n\
         StandardInput=null\nStandardOutput=null\nStandardError=journal\nSyslogIdentifier={PROBE}\nNice=10\n\
         ReadWritePaths={folder}\n"
    );
    for (name, value) in given.environment {
        let _ = writeln!(text, "Environment={name}={value}");
    }
    text
}

/// The probe beside the program of a command line.
fn beside(command: &str) -> Option<PathBuf> {
    let program = command.split_whitespace().next()?;
    let program = program.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let folder = Path::new(program).parent()?;
    folder.is_absolute().then(|| folder.join(PROBE))
}

/// The probe's unit is no instance: what stands for one is put in its place.
fn specified(value: &str, instance: &str) -> String {
    let mut parts = value.split("%%").map(|part| {
        let part = part.replace("%i", instance);
        part.replace("%I", instance)
    });
    let first = parts.next().unwrap_or_default();
    parts.fold(first, |whole, part| whole + "%%" + &part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Unit]\nDescription=x\nPartOf=clawdbot.target\n[Service]\nType=notify\n\
        ExecStart=/opt/c/clawdbot-agent %i\nUser=clawdbot-agent-%i\nSockets=a.socket\nExecPaths=/opt/c\n\
        LoadCredential=a:b\nRestart=always\nWatchdogSec=30s\nProtectSystem=strict\nSystemCallFilter=@system-service \\\n  ~@clock\n";

    fn made(files: &[&str]) -> String {
        let environment = [("CLAWDBOT_STATE_DIR", "/run/p/state".to_owned())];
        text(
            files,
            &Given {
                socket: Path::new("/run/p/socket"),
                service: &["agent", "main"],
                instance: "main",
                environment: &environment,
                folder: Path::new("/run/p"),
            },
        )
    }

    #[test]
    fn what_protects_stays_and_what_belongs_to_the_real_service_goes() {
        let text = made(&[UNIT]);
        for line in [
            "User=clawdbot-agent-main",
            "ExecPaths=/opt/c",
            "ProtectSystem=strict",
            "SystemCallFilter=@system-service  ~@clock",
            "ExecStart=/opt/c/clawdbot-probe rounds /run/p/socket agent main",
            "Type=oneshot",
            "ReadWritePaths=/run/p",
            "Environment=CLAWDBOT_STATE_DIR=/run/p/state",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}:\n{text}");
        }
        for name in [
            "Sockets=",
            "LoadCredential",
            "Restart=",
            "Watchdog",
            "PartOf",
            "notify",
        ] {
            assert!(!text.contains(name), "{name}:\n{text}");
        }
    }

    #[test]
    fn what_is_dropped_in_counts_after_the_file_and_before_what_the_probe_is_given() {
        let weak = "[Service]\nProtectSystem=no\nExecStart=\nExecStart=-/srv/other/clawdbot-agent %i\nEnvironment=CLAWDBOT_STATE_DIR=/x\n";
        let text = made(&[UNIT, weak]);
        let at = |line: &str| {
            let mut lines = text.lines();
            let found = lines.position(|known| known == line);
            found.unwrap_or_else(|| panic!("{line}:\n{text}"))
        };
        assert!(at("ProtectSystem=strict") < at("ProtectSystem=no"));
        assert!(
            at("Environment=CLAWDBOT_STATE_DIR=/x")
                < at("Environment=CLAWDBOT_STATE_DIR=/run/p/state")
        );
        at("ExecStart=/srv/other/clawdbot-probe rounds /run/p/socket agent main");
    }

    #[test]
    fn a_percent_sign_that_stands_for_itself_is_no_instance() {
        assert_eq!(specified("a%i-%%i-%n", "main"), "amain-%%i-%n");
    }

    #[test]
    fn the_settings_that_go_are_in_order() {
        assert!(LEFT.is_sorted());
    }
}
