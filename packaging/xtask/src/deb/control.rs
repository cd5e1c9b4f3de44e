//! What dpkg reads about a package.

use std::fs;

use super::Recipe;
use super::assets::Tree;
use super::elf::Facts;
use super::tool;
use crate::cargo;

/// Whoever answers for the package.
const MAINTAINER: &str = "The Clawdbot project <clawdbot@users.noreply.github.com>";
/// Files that an administrator may change and dpkg then keeps.
const CONFFILES: [&str; 1] = ["/etc/clawdbot/clawdbot.json"];
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

/// The control file of the package.
///
/// # Errors
/// When the tree cannot be measured.
pub fn main(tree: &Tree, recipe: &Recipe, facts: &Facts) -> Result<String, String> {
    let Facts {
        architecture,
        libraries,
    } = facts;
    // Without dbus nobody but root can ask the service manager how the services are.
    Ok(format!(
        "\
Package: clawdbot
Version: {}
Architecture: {architecture}
Maintainer: {MAINTAINER}
Installed-Size: {}
Depends: {libraries}, systemd (>= 252)
Recommends: dbus
Suggests: bash-completion
Section: net
Priority: optional
Description: personal assistant in your chats, from small confined processes
 An assistant that answers where you already chat, runs on your own machine and
 sends nothing anywhere but to the model provider that you choose. With the
 built-in guide, which answers at first, it sends nothing at all.
 .
 It is a set of small processes, each with a user and a sandbox of its own. Each
 holds one thing and may call only those that a table names, so that whoever
 takes over one of them has that one.
",
        recipe.version,
        tree.kilobytes()?
    ))
}

/// The control file of the package of symbols.
///
/// # Errors
/// When the tree cannot be measured.
pub fn symbols(
    tree: &Tree,
    recipe: &Recipe,
    facts: &Facts,
    ids: &[String],
) -> Result<String, String> {
    let version = &recipe.version;
    Ok(format!(
        "\
Package: clawdbot-dbgsym
Source: clawdbot
Version: {version}
Auto-Built-Package: debug-symbols
Architecture: {}
Maintainer: {MAINTAINER}
Installed-Size: {}
Depends: clawdbot (= {version})
Section: debug
Priority: optional
Description: debug symbols for clawdbot
Build-Ids: {}
",
        facts.architecture,
        tree.kilobytes()?,
        ids.join(" ")
    ))
}

/// Puts all that dpkg reads beside the files of the package.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write(tree: &Tree, name: &str, control: &str) -> Result<(), String> {
    let sums = sums(tree)?;
    tree.put("DEBIAN/control", control.as_bytes(), 0o644)?;
    tree.put("DEBIAN/md5sums", &sums, 0o644)?;
    if name != "clawdbot" {
        return Ok(());
    }
    let list: String = CONFFILES.map(|path| format!("{path}\n")).concat();
    tree.put("DEBIAN/conffiles", list.as_bytes(), 0o644)?;
    for script in SCRIPTS {
        let path = cargo::root().join("packaging/deb").join(script);
        let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        tree.put(&format!("DEBIAN/{script}"), &text, 0o755)?;
    }
    Ok(())
}

/// Of all files but those that dpkg watches otherwise.
fn sums(tree: &Tree) -> Result<Vec<u8>, String> {
    let mut files = tree.files()?;
    files.retain(|path| {
        !CONFFILES
            .iter()
            .any(|kept| kept.trim_start_matches('/') == path)
    });
    tool::run(
        tool::command("md5sum")
            .current_dir(tree.root())
            .arg("--")
            .args(files),
    )
}

/// The changelog of a package that has no version of Debian's.
///
/// # Errors
/// When there is no `date`.
pub fn changelog(recipe: &Recipe) -> Result<String, String> {
    Ok(format!(
        "clawdbot ({}) unstable; urgency=medium\n\n  * Built from the sources of this version.\n\n -- {MAINTAINER}  {}\n",
        recipe.version,
        tool::date(&recipe.epoch, "--rfc-email")?
    ))
}
