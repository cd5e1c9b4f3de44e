//! Who may use a socket with a name: the second check of a caller, after the socket's own mode. In
//! single-user mode everything is one user's. In system mode each role has a user, which is looked up
//! once, before the confinement; a role whose user cannot be told is served to nobody.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use clawdbot_confine::process::lookup_user;
use clawdbot_identity::Role;

use crate::{StartError, system};

/// How the kernel shows an id that a user namespace has no number for.
const NOBODY: u32 = 65_534;
/// The servers whose units have a user namespace of their own (`PrivateUsers=`), where every peer is
/// shown as nobody: they have the sockets alone, and neither holds what a second check protects. All
/// others must see who connects.
const APART: [&str; 2] = ["agent", "dialer"];

/// The users that may use a process's sockets.
#[derive(Debug, Clone)]
pub(crate) enum Callers {
    /// The same for every socket.
    One([u32; 3]),
    /// A user for each role. Who is not in it is nobody, and the operator whoever the socket lets in.
    Each(Arc<BTreeMap<Role, u32>>),
}

impl Callers {
    /// This user, and root. `apart`: in a user namespace of its own root is shown as nobody, as
    /// everybody else is; then the permissions of the socket and its directory keep the others out alone.
    pub(crate) fn this_user(apart: bool) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self::One([own, 0, if apart { NOBODY } else { own }])
    }

    /// The users of the roles that have a socket at this process, and what cannot be served.
    ///
    /// Who owns the runtime folder tells what kind of start this is, since the sockets in it are its
    /// owner's to replace: root's is a system with a user for each role; where it belongs to this very
    /// user there is no second one, and only this one is let in.
    ///
    /// # Errors
    /// When the folder is somebody else's, when its sockets could be replaced, or when this process
    /// cannot see who connects and has to.
    pub(crate) fn resolve<'a>(
        role: &Role,
        runtime: &Path,
        clients: impl Iterator<Item = &'a Role>,
    ) -> Result<(Self, Vec<String>), StartError> {
        let own = rustix::process::geteuid().as_raw();
        if owner(runtime, own)? == own {
            return Ok((Self::this_user(false), Vec::new()));
        }
        let ids = Ids::read().map_err(|error| StartError::io("/proc/self/uid_map", &error))?;
        let known = |name: &str| Ok(lookup_user(name)?.map(|user| user.uid));
        Self::users(role, clients, &ids, known)
    }

    fn users<'a>(
        role: &Role,
        clients: impl Iterator<Item = &'a Role>,
        ids: &Ids,
        known: impl Fn(&str) -> io::Result<Option<u32>>,
    ) -> Result<(Self, Vec<String>), StartError> {
        let (mut users, mut unknown) = (BTreeMap::new(), Vec::new());
        for client in clients.filter(|client| **client != Role::operator()) {
            let name = system::user_of(client);
            let user = known(&name).map_err(|error| StartError::io("/etc/passwd", &error))?;
            match user {
                None => unknown.push(format!(
                    "there is no user {name}, so nobody is served as {client}; make it with: systemd-sysusers clawdbot.conf, or clawdbotctl apply"
                )),
                Some(user) if ids.show(user) => {
                    users.insert(client.clone(), user);
                }
                Some(_) if APART.contains(&role.family()) => {
                    users.insert(client.clone(), NOBODY);
                }
                Some(_) => {
                    return Err(StartError::config(format!(
                        "{role} is in a user namespace where {name} is shown as nobody, so it cannot tell who calls; take PrivateUsers= out of the drop-ins of {}",
                        system::service_unit(role)
                    )));
                }
            }
        }
        Ok((Self::Each(Arc::new(users)), unknown))
    }

    /// Whether a process of this user may connect as `client`.
    pub(crate) fn permit(&self, client: &Role, user: u32) -> bool {
        match self {
            Self::One(users) => users.contains(&user),
            Self::Each(_) if *client == Role::operator() => true,
            Self::Each(users) => users.get(client) == Some(&user),
        }
    }
}

/// The owner of the runtime folder, root or this user.
fn owner(runtime: &Path, own: u32) -> Result<u32, StartError> {
    let shown = runtime.display();
    let remedy = "mend it with: systemd-tmpfiles --create clawdbot.conf";
    let found = fs::symlink_metadata(runtime).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            StartError::config(format!("the runtime folder {shown} is missing; {remedy}"))
        }
        _ => StartError::io(&format!("runtime folder {shown}"), &error),
    })?;
    let wrong = |what: String| Err(StartError::config(format!("{shown} {what}; {remedy}")));
    match found.uid() {
        _ if !found.is_dir() => wrong("is not a folder".into()),
        user if user != 0 && user != own => wrong(format!(
            "belongs to user {user}, who could put other sockets in it; it must be root's"
        )),
        _ if found.mode() & 0o022 != 0 => wrong(format!(
            "can be written by others (mode {:04o}), who could put other sockets in it",
            found.mode() & 0o7777
        )),
        user => Ok(user),
    }
}

/// The ids that have a number in this process's user namespace: first and count.
struct Ids(Vec<(u32, u32)>);

impl Ids {
    #[cfg(target_os = "linux")]
    fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/uid_map")?))
    }

    #[cfg(not(target_os = "linux"))]
    fn read() -> io::Result<Self> {
        Ok(Self(vec![(0, u32::MAX)]))
    }

    /// Lines of: first id inside, first outside, count.
    fn parse(text: &str) -> Self {
        let row = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let first = numbers.next()?.ok()?;
            let count = numbers.nth(1)?.ok()?;
            Some((first, count))
        };
        Self(text.lines().filter_map(row).collect())
    }

    fn show(&self, id: u32) -> bool {
        let mut rows = self.0.iter();
        rows.any(|(first, count)| id.checked_sub(*first).is_some_and(|at| at < *count))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ALL: &str = "         0          0 4294967295\n";
    const APART_7: &str = "0 0 1\n7 7 1\n";

    fn role(text: &str) -> Role {
        Role::parse(text).unwrap()
    }

    fn users(
        server: &str,
        clients: &[Role],
        map: &str,
    ) -> Result<(Callers, Vec<String>), StartError> {
        Callers::users(&role(server), clients.iter(), &Ids::parse(map), |name| {
            Ok(match name {
                "clawdbot-gateway" => Some(991),
                "clawdbot-policy" => Some(992),
                _ => None,
            })
        })
    }

    #[test]
    fn each_role_has_one_user_and_the_operator_whoever_the_socket_lets_in() {
        let clients = [role("gateway"), role("policy"), Role::operator()];
        let (callers, unknown) = users("broker", &clients, ALL).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let permitted = |client: &str| {
            let client = role(client);
            let found = [0, 991, 992, 1000, NOBODY].map(|user| callers.permit(&client, user));
            found.iter().filter(|permitted| **permitted).count()
        };
        assert!(callers.permit(&role("gateway"), 991) && callers.permit(&role("policy"), 992));
        assert_eq!((permitted("gateway"), permitted("policy")), (1, 1));
        assert_eq!((permitted("operator"), permitted("executor")), (5, 0));
    }

    #[test]
    fn a_role_without_a_user_is_served_to_nobody_and_named() {
        let clients = [role("gateway"), role("executor")];
        let (callers, unknown) = users("policy", &clients, ALL).unwrap();
        assert_eq!(unknown.len(), 1);
        for word in ["clawdbot-executor", "systemd-sysusers"] {
            assert!(unknown[0].contains(word), "{unknown:?}");
        }
        assert!(callers.permit(&role("gateway"), 991));
        assert!(
            ![0, 991, NOBODY]
                .iter()
                .any(|user| callers.permit(&role("executor"), *user))
        );
    }

    #[test]
    fn who_cannot_see_its_callers_goes_by_the_socket_only_where_it_is_meant_to() {
        let gateway = [role("gateway")];
        let refused = users("policy", &gateway, APART_7).unwrap_err();
        assert_eq!(refused.code(), 78);
        for word in [
            "clawdbot-gateway",
            "PrivateUsers",
            "clawdbot-policy.service",
        ] {
            assert!(refused.to_string().contains(word), "{refused}");
        }
        for server in ["agent-main", "dialer"] {
            let (callers, _) = users(server, &gateway, APART_7).unwrap();
            let permit = |user| callers.permit(&gateway[0], user);
            // Root and its own user would be shown as they are.
            assert!(
                permit(NOBODY) && !permit(0) && !permit(7) && !permit(991),
                "{server}"
            );
        }
        // In a container all the users of the product have their numbers.
        let (callers, _) = users("policy", &gateway, "0 1000000 65536\n").unwrap();
        assert!(callers.permit(&gateway[0], 991) && !callers.permit(&gateway[0], NOBODY));
    }

    #[test]
    fn an_own_folder_means_one_user_and_a_foreign_or_open_one_is_refused() {
        let own = rustix::process::geteuid().as_raw();
        let scratch = tempfile::tempdir().unwrap();
        let resolve = |path: &Path| Callers::resolve(&role("policy"), path, [].iter());
        let (callers, _) = resolve(scratch.path()).unwrap();
        assert!(callers.permit(&role("gateway"), own) && callers.permit(&role("gateway"), 0));
        assert!(!callers.permit(&role("gateway"), own + 1));

        let refused = |path: &Path| {
            let error = resolve(path).unwrap_err();
            assert_eq!(error.code(), 78);
            error.to_string()
        };
        for mode in [0o770, 0o703] {
            fs::set_permissions(scratch.path(), Permissions::from_mode(mode)).unwrap();
            let said = refused(scratch.path());
            assert!(said.contains(&format!("{mode:04o}")), "{said}");
        }
        let absent = refused(&scratch.path().join("absent"));
        assert!(absent.contains("systemd-tmpfiles"), "{absent}");
        assert!(owner(Path::new("/etc"), 7).unwrap() == 0);
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        if own != 0 {
            let foreign = owner(scratch.path(), own + 1).unwrap_err().to_string();
            assert!(foreign.contains(&format!("user {own}")), "{foreign}");
        }
    }
}
