//! Where a class works: the folder that the configuration names, or the default, and for guests one
//! beside it. Several processes must mean the same folder.

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
}
