//! Users, groups and folders, made before anything starts: `sysusers.d` and `tmpfiles.d`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clawdbot_confine::profile::{Mode, Place, profile};
use clawdbot_identity::{Class, Role};
use clawdbot_service::system;

use crate::Generated;
use crate::unit::GENERATED;

pub(crate) fn files() -> Vec<Generated> {
    vec![users(), folders()]
}

fn users() -> Generated {
    let mut text = format!(
        "{GENERATED}\n# Who may use the operator's sockets.\ng {} -\n\n# One user for each process.\n",
        system::OPERATORS
    );
    let each = system::per_connection();
    let each = each.iter().map(|(server, _)| server);
    for role in system::roles().iter().chain(each) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "u {} - \"Clawdbot {role}\" /nonexistent /usr/sbin/nologin",
            system::user_of(role)
        );
    }
    Generated {
        path: "sysusers.d/clawdbot.conf".into(),
        text,
    }
}

/// Mode and owner of a folder.
type Folder = (&'static str, String, String);

fn folders() -> Generated {
    let mut text = format!(
        "{GENERATED}\n# Sockets, and what policy says to the service manager and to every process that starts.\n"
    );
    let root = |mode| (mode, "root".to_owned(), "root".to_owned());
    let of = |mode, user: &str, group: &str| (mode, user.to_owned(), group.to_owned());
    let policy = system::user_of(&Role::policy());
    let runtime = std::path::Path::new(system::RUNTIME);
    line(&mut text, system::RUNTIME, &root("0755"));
    let plan = system::plan_folder(runtime).display().to_string();
    line(&mut text, &plan, &of("0755", &policy, &policy));

    text.push_str(
        "\n# State: parents that belong to root, and a folder for each process that keeps some.\n",
    );
    line(&mut text, system::STATE, &root("0711"));
    for parent in system::SHARED_PARENTS {
        line(
            &mut text,
            &format!("{}/{parent}", system::STATE),
            &root("0711"),
        );
    }
    let kept = system::plan_folder(std::path::Path::new(system::STATE));
    line(
        &mut text,
        &kept.display().to_string(),
        &of("0755", &policy, &policy),
    );
    for (leaf, user) in leaves() {
        line(
            &mut text,
            &format!("{}/{leaf}", system::STATE),
            &of("0700", &user, &user),
        );
    }

    text.push_str(
        "\n# Where tools work: written by the sandbox of the class, read by its agent.\n",
    );
    line(&mut text, system::WORKSPACES, &root("0711"));
    for class in Class::ALL {
        let sandbox = system::user_of(&Role::sandbox(class));
        let agent = system::user_of(&Role::agent(class));
        let place = system::workspace_folder(class).display().to_string();
        line(&mut text, &place, &of("2750", &sandbox, &agent));
    }

    text.push_str("\n# Configuration, and secrets that are files.\n");
    line(&mut text, system::ETC, &root("0755"));
    let broker = system::user_of(&Role::broker());
    line(&mut text, system::SECRETS, &of("0750", "root", &broker));
    text.push_str(
        "# A credential without a folder is looked for here too, and one that is missing here is not fatal.\n",
    );
    let _ = writeln!(
        text,
        "L /run/credstore/clawdbot.environment - - - - {}",
        system::ENVIRONMENT
    );
    Generated {
        path: "tmpfiles.d/clawdbot.conf".into(),
        text,
    }
}

fn line(text: &mut String, path: &str, (mode, user, group): &Folder) {
    let _ = writeln!(text, "d {path} {mode} {user} {group} -");
}

/// Every folder in the state directory that a profile names, and whose it is.
pub(crate) fn leaves() -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    for role in system::roles() {
        let Some(profile) = profile(role.as_str()) else {
            continue;
        };
        let instance = role.as_str().strip_prefix(role.family());
        let instance = instance.unwrap_or_default().trim_start_matches('-');
        for row in profile.files(Mode::System) {
            if let Place::State(leaf) = row.place {
                leaves.insert(leaf.replace("INSTANCE", instance), system::user_of(&role));
            }
        }
    }
    leaves
}
