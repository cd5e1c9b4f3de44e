//! Root's part of the escape suite: the controls that only root can make, the matrix for a product that
//! root started, and the one of system mode with a user for every process.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clawdbot_attempts::Attempt;
use clawdbot_confine::process::lookup_user;
use clawdbot_tests::escape::{
    Control, Found, Report, Scene, Surroundings, Table, columns, controls, furnish_all, run,
    system_columns,
};
use clawdbot_tests::kernel::Seen;
use clawdbot_tests::{Product, Scratch, Start, binary, runs_as_root};

/// A folder that anybody may pass through.
fn open_folder(path: &Path, owner: Option<u32>) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(path, owner, owner).unwrap();
}

/// A place in the memory of a process that can be read: the beginning of its heap.
fn readable(process: Seen) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.0)).unwrap();
    let line = maps.lines().find(|line| line.contains("rw-p")).unwrap();
    u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()
}

/// The socket of a container engine, where one would be; ours only if there is none.
struct Docker(Option<UnixListener>);

impl Docker {
    const PATH: &str = "/run/docker.sock";

    fn open() -> Self {
        let made = UnixListener::bind(Self::PATH).ok();
        if made.is_some() {
            // Whoever is in its group is root; here everybody is, so that only the confinement is in the way.
            let mode = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(Self::PATH, mode).unwrap();
        }
        Self(made)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if self.0.is_some() {
            let _gone = std::fs::remove_file(Self::PATH);
        }
    }
}

fn started(scratch: &Scratch) -> Product {
    assert!(runs_as_root(), "these tests are root's");
    Start::new()
        .argument("--user")
        .argument("nobody")
        .up(scratch)
}

/// The controls that only root can make; those of a user namespace as well, for kernels that give an
/// ordinary user none.
#[test]
fn what_only_root_can_do_root_can_do() {
    let scratch = Scratch::passable();
    let product = started(&scratch);
    let sibling = product.process("broker");
    let folder = scratch.path().join("scene");
    let state = folder.join("state");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("clawdbot.json"), "{}").unwrap();
    let scene = Scene::new(&Surroundings {
        folder,
        state,
        sibling: sibling.0,
        sibling_address: readable(sibling),
        docker: None,
    });
    let table = Table::load().unwrap();
    let found = controls(&scene, &table, &[Control::Root, Control::Userns]);
    let failed: Vec<String> = found
        .iter()
        .filter(|(name, outcome)| {
            *outcome != "worked" && !table.lacks(name).contains(&outcome.as_str())
        })
        .map(|(name, outcome)| format!("{name}: {outcome}"))
        .collect();
    let lacking = found
        .values()
        .filter(|outcome| *outcome != "worked")
        .count();
    println!(
        "controls as root: {} succeeded, {lacking} about what this kernel does not have",
        found.len() - lacking
    );
    assert!(
        failed.is_empty(),
        "controls that failed:\n{}",
        failed.join("\n")
    );
    assert!(sibling.lives());
}

/// Reads what `clawdbot-escape` prints: column, attempt, outcome.
fn read(text: &str) -> (Found, BTreeMap<&'static str, String>) {
    let (mut found, mut free) = (Found::default(), BTreeMap::new());
    let name_of = |name: &str| {
        let mut all = clawdbot_attempts::all();
        all.find(|attempt| attempt.name == name).unwrap().name
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let column = |key: &str| {
            columns()
                .into_iter()
                .find(|column| column.key == key)
                .unwrap()
        };
        match words.as_slice() {
            ["starts", count] => found.starts = count.parse().unwrap(),
            ["level", key, level] => {
                found.levels.insert(column(key), (*level).to_owned());
            }
            ["control", name, outcome] => {
                free.insert(name_of(name), (*outcome).to_owned());
            }
            ["cell", key, name, outcome] => {
                found
                    .outcomes
                    .insert((column(key), name_of(name)), (*outcome).to_owned());
            }
            _ => panic!("no line of a result: {line}"),
        }
    }
    (found, free)
}

#[test]
fn a_product_that_root_started_is_as_closed() {
    let scratch = Scratch::passable();
    scratch.configure("{}");
    let user = lookup_user("nobody").unwrap().unwrap();
    for path in [scratch.state(), scratch.state().join("clawdbot.json")] {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
    let product = started(&scratch);
    let docker = Docker::open();
    let folder = scratch.path().join("scene");
    open_folder(&folder, Some(user.uid));
    let sibling = product.process("broker");
    let output = Command::new(binary("clawdbot-escape"))
        .arg(&folder)
        .arg(scratch.state())
        .args([
            sibling.0.to_string(),
            readable(sibling).to_string(),
            Docker::PATH.into(),
        ])
        .uid(user.uid)
        .gid(user.gid)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    drop(docker);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let (found, free) = read(&String::from_utf8(output.stdout).unwrap());
    for (role, process) in product.processes() {
        assert!(process.lives(), "{role} did not survive");
    }
    let title = "Escape matrix: single-user mode, started by root, as nobody";
    let table = Table::load().unwrap();
    let mut report = Report::new(title, &table, &columns(), &found, &free, |_| true);
    report.add_controls(&table, &free);
    report.check_levels(&found);
    report.check();
}

/// In system mode a process may make UNIX sockets and connect them; and everything belongs to users of
/// its own.
#[test]
fn in_system_mode_the_network_the_sockets_and_the_files_are_as_closed() {
    assert!(runs_as_root(), "these tests are root's");
    let wanted = |attempt: &Attempt| {
        ["file.", "net.", "reaim.", "unix."]
            .iter()
            .any(|group| attempt.name.starts_with(group))
    };
    let scratch = Scratch::passable();
    let product = started(&scratch);
    let folder: PathBuf = scratch.path().join("scene");
    open_folder(&folder, None);
    let state = folder.join("state");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("clawdbot.json"), "{}").unwrap();
    let scene = Scene::new(&Surroundings {
        folder,
        state,
        sibling: product.process("broker").0,
        sibling_address: 0,
        docker: None,
    });
    furnish_all(&scene);
    let columns = system_columns();
    let found = run(&scene, &columns, wanted);
    let title = "Escape matrix: system mode, every process as a user of its own";
    let table = Table::load().unwrap();
    Report::new(title, &table, &columns, &found, &BTreeMap::new(), wanted).check();
}
