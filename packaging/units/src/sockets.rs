//! One socket unit for each edge, whose group is the caller's: the socket that a connection came in on says who calls.

use clawdbot_identity::Role;
use clawdbot_service::system;

use crate::Generated;
use crate::unit::Unit;

pub(crate) fn files() -> Vec<Generated> {
    let mut files: Vec<_> = edges()
        .iter()
        .map(|(server, client)| edge(server, client))
        .collect();
    let each = system::per_connection();
    files.extend(
        each.iter()
            .map(|(server, client)| each_connection(server, client)),
    );
    files.push(listener());
    files
}

/// Every pair of server and client as installed.
pub(crate) fn edges() -> Vec<(Role, Role)> {
    let servers = system::roles();
    let pairs = servers.iter().flat_map(|server| {
        let clients = system::clients_of(server);
        clients.into_iter().map(|client| (server.clone(), client))
    });
    pairs.collect()
}

fn head(what: String) -> Unit {
    Unit::new()
        .section("Unit")
        .set("Description", what)
        .set("PartOf", system::TARGET)
        .set("StartLimitIntervalSec", "0")
        .section("Socket")
}

/// More often than this a socket does not start its server, and is down from then on: a server that refuses takes three
/// seconds for it (`crates/service/src/run.rs`), so that only what the service manager itself cannot start comes here.
fn bounded(unit: Unit) -> Unit {
    unit.set("TriggerLimitIntervalSec", "10s")
        .set("TriggerLimitBurst", "100")
}

fn access(unit: Unit, server: &Role, client: &Role) -> Unit {
    let path = system::socket_path(server, client);
    unit.set("ListenStream", path.display().to_string())
        .set("SocketUser", "root")
        .set("SocketGroup", system::socket_group(client))
        .set("SocketMode", "0660")
        .set("DirectoryMode", "0755")
        .set("RemoveOnStop", "yes")
}

fn edge(server: &Role, client: &Role) -> Generated {
    let unit = access(
        head(format!("Clawdbot: {server}'s socket for {client}")),
        server,
        client,
    )
    .set("FileDescriptorName", client)
    .set("Service", system::service_unit(server))
    .set("FlushPending", "yes");
    Generated::system(system::socket_unit(server, client), bounded(unit).text())
}

/// Tool calls that run at the same time in a class. Each is a unit of up to 512M; more than these make a machine slow
/// before they make an agent fast, and the executor asks again.
const CALLS: u32 = 4;
/// Operators' readers of the log at the same time, and those of one of them where systemd counts by user (257).
const READERS: (u32, u32) = (8, 4);

fn each_connection(server: &Role, client: &Role) -> Generated {
    let name = system::socket_unit(server, client);
    let unit = match server.class() {
        Some(class) => {
            let what = format!("Clawdbot: one sandbox of class {class} for each connection");
            access(head(what), server, client)
                .set("Accept", "yes")
                .set("MaxConnections", CALLS.to_string())
        }
        None => {
            let what = "Clawdbot: one reader of the log for each connection of an operator";
            // No part of the target: when all the rest is stopped the log tells why.
            let unit = Unit::new()
                .section("Unit")
                .set("Description", what)
                .set("StartLimitIntervalSec", "0")
                .section("Socket");
            access(unit, server, client)
                .set("Accept", "yes")
                .set("MaxConnections", READERS.0.to_string())
                .set("MaxConnectionsPerSource", READERS.1.to_string())
        }
    };
    Generated::system(name, unit.text())
}

/// The front door. `clawdbotctl apply` gives it another address with a drop-in.
fn listener() -> Generated {
    let unit = head("Clawdbot: front door, HTTP and WebSocket".into())
        .set("ListenStream", "127.0.0.1:18789")
        .set("FileDescriptorName", system::LISTENER)
        .set("Service", system::service_unit(&Role::gateway()))
        .set("ReusePort", "yes")
        .set("NoDelay", "yes")
        .set("FlushPending", "yes")
        .set("IPAddressDeny", "any")
        .set("IPAddressAllow", "localhost");
    Generated::system(system::LISTENER_UNIT, bounded(unit).text())
}
