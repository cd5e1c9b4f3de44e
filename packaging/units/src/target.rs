//! What starts and stops everything, the path unit of the channels, and the user unit of single-user mode.

use clawdbot_identity::Role;
use clawdbot_proto::edges::{PROCESSES, Starts};
use clawdbot_service::system;

use crate::unit::Unit;
use crate::{Generated, services, sockets};

pub(crate) fn files() -> Vec<Generated> {
    vec![target(), channel_path(), user()]
}

/// Names what it wants itself: a new edge of a new version is there at once, no link has to be made, and who does not
/// want one of the units masks it.
fn target() -> Generated {
    let mut sockets = vec![system::LISTENER_UNIT.to_owned()];
    let edges = sockets::edges();
    sockets.extend(
        edges
            .iter()
            .map(|(server, client)| system::socket_unit(server, client)),
    );
    let each = system::per_connection();
    sockets.extend(
        each.iter()
            .map(|(server, client)| system::socket_unit(server, client)),
    );
    let roles = system::roles();
    let services = roles
        .iter()
        .filter(|role| always(role))
        .map(system::service_unit);
    let channels = roles.iter().filter(|role| role.family() == "channel");
    let paths = channels.filter_map(|role| Some(system::path_unit(&role.name()?)));
    let unit = Unit::new()
        .section("Unit")
        .set("Description", "Clawdbot, a personal AI assistant")
        .set("Documentation", "man:clawdbot(1)")
        .set_all("Wants", &sockets)
        .set_all("Wants", services)
        .set_all("Wants", paths)
        .section("Install")
        .set("WantedBy", "multi-user.target");
    Generated::system(system::TARGET, unit.text())
}

fn always(role: &Role) -> bool {
    PROCESSES
        .iter()
        .any(|row| row.role == role.as_str() && row.starts == Starts::Always)
}

fn channel_path() -> Generated {
    let unit = Unit::new()
        .section("Unit")
        .set(
            "Description",
            "Clawdbot: starts channel %i when policy wants it",
        )
        .set("PartOf", system::TARGET)
        .set("StartLimitIntervalSec", "0")
        .section("Path")
        .set("PathExists", services::flag("channel-%i"))
        .set("TriggerLimitIntervalSec", "10s")
        .set("TriggerLimitBurst", "5");
    Generated::system("clawdbot-channel@.path", unit.text())
}

/// Only lines that hold in a user's service manager and that the sandbox of a tool call, which makes namespaces of its
/// own, can live with. The processes confine themselves.
fn user() -> Generated {
    let unit = Unit::new()
        .section("Unit")
        .set("Description", "Clawdbot, a personal AI assistant")
        .set("Documentation", "man:clawdbot(1)")
        .set("StartLimitIntervalSec", "0")
        .section("Service")
        .set("Type", "exec")
        .set("ExecStart", "/usr/bin/clawdbot up")
        .set("Restart", "on-failure")
        .set("RestartSec", "2s")
        .set("RestartPreventExitStatus", "78")
        .set("KillMode", "mixed")
        .set("TimeoutStopSec", "15s")
        .set("UMask", "0077")
        .set("NoNewPrivileges", "yes")
        .set("LockPersonality", "yes")
        .set("RestrictRealtime", "yes")
        .set("SystemCallArchitectures", "native")
        .set("LimitCORE", "0")
        .section("Install")
        .set("WantedBy", "default.target");
    Generated {
        path: "user/clawdbot.service".into(),
        text: unit.text(),
    }
}
