//! Where a class works: the folder that the configuration names, or the default, and for guests one
//! beside it. Several processes must mean the same folder.

use std::path::{Component, Path};

use crate::Class;

/// The workspace when the configuration names none.
pub const DEFAULT_WORKSPACE: &str = "~/clawd";

/// The folder of a class: `~/` is the given home, guests work beside the owner's folder, never in it.
pub fn workspace(configured: &str, home: &str, class: Class) -> String {
    let path = configured.trim_end_matches('/');
    let path = match path.strip_prefix("~/") {
        Some(rest) => format!("{}/{rest}", home.trim_end_matches('/')),
        None => path.to_owned(),
    };
    match class {
        Class::Main => path,
        Class::Guest => format!("{path}-guest"),
    }
}

/// Where an agent works in system mode, as a path from its class's own folder, which lies in `parent`: the folder itself unless
/// the configuration names one below that of a class. Nothing when it names a folder elsewhere: no process reaches it.
pub fn workspace_within(configured: &str, parent: &str) -> Option<String> {
    if configured.trim_end_matches('/') == DEFAULT_WORKSPACE {
        return Some(String::new());
    }
    let mut parts = Path::new(configured)
        .strip_prefix(parent)
        .ok()?
        .components();
    let class = parts.next()?.as_os_str().to_str()?;
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let named = Class::ALL.iter().any(|known| known.as_str() == class);
    let rest = parts.as_path().to_str()?;
    (named && parts.all(plain)).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_never_works_in_the_owners_folder() {
        for (configured, main, guest) in [
            (
                DEFAULT_WORKSPACE,
                "/home/ann/clawd",
                "/home/ann/clawd-guest",
            ),
            ("~/work/", "/home/ann/work", "/home/ann/work-guest"),
            ("/srv/clawd", "/srv/clawd", "/srv/clawd-guest"),
        ] {
            assert_eq!(workspace(configured, "/home/ann", Class::Main), main);
            assert_eq!(workspace(configured, "/home/ann/", Class::Guest), guest);
        }
    }

    #[test]
    fn in_system_mode_an_agent_works_in_its_class_s_folder_or_below() {
        for (configured, within) in [
            (DEFAULT_WORKSPACE, Some("")),
            ("~/clawd/", Some("")),
            ("/shared/main", Some("")),
            ("/shared/main/", Some("")),
            ("/shared/guest/helper", Some("helper")),
            ("/shared/main/a/b/", Some("a/b")),
            ("/shared", None),
            ("/shared/other/helper", None),
            ("/shared/main/../guest", None),
            ("/sharedness/main", None),
            ("~/shared", None),
            ("/srv/clawd", None),
            ("", None),
        ] {
            let found = workspace_within(configured, "/shared");
            assert_eq!(found.as_deref(), within, "{configured}");
        }
    }
}
