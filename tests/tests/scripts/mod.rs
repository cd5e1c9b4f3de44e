//! A machine for maintainer scripts that is none: a folder as its root and a path with impostors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What the scripts may use: from packages that every Debian system has.
const PLAIN: &[&str] = &[
    "cat", "cp", "cut", "dpkg", "env", "grep", "head", "mkdir", "mv", "readlink", "rm", "rmdir",
    "sh", "sync", "wc",
];

/// What is only written down, or answers what the test put into `answers/NAME`, a piece of shell.
const IMPOSTORS: &[&str] = &[
    "aa-enabled",
    "apparmor_parser",
    "chgrp",
    "clawdbotctl",
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "stat",
    "systemctl",
    "systemd-creds",
    "systemd-sysusers",
    "systemd-tmpfiles",
];

/// Made by a shell: a program that this process wrote could be held open by the child of another test.
const MAKE: &str = r#"
for name in $PLAIN; do ln -s "$(command -v "$name")" "$BOX/bin/$name"; done
for name in $IMPOSTORS; do
    cat >"$BOX/bin/$name" <<EOT
#!/bin/sh
echo "$name \$*" >>"$BOX/calls"
if [ -e "$BOX/answers/$name" ]; then . "$BOX/answers/$name"; fi
EOT
    chmod 755 "$BOX/bin/$name"
done
"#;

/// A root folder, and impostors of what changes a system.
pub struct Machine {
    folder: TempDir,
}

/// What a script did.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    /// Calls of impostors in order; `ROOT` stands for the root folder.
    pub calls: Vec<String>,
}

impl Machine {
    /// With the package's files unpacked, systemd running and every tool content.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder };
        for name in ["bin", "answers", "root"] {
            fs::create_dir(machine.at(name)).unwrap();
        }
        let made = Command::new("sh")
            .args(["-ec", MAKE])
            .env("BOX", machine.folder.path())
            .env("PLAIN", PLAIN.join(" "))
            .env("IMPOSTORS", IMPOSTORS.join(" "))
            .status()
            .unwrap();
        assert!(made.success());
        machine.put("run/systemd/system/x", "");
        machine.put("etc/clawdbot/clawdbot.json", "{}");
        let units = [
            (
                "clawdbot.target",
                "[Unit]\n[Install]\nWantedBy=multi-user.target\n",
            ),
            ("clawdbot-policy.service", "[Service]\n"),
            ("clawdbot-channel@.path", "[Path]\n[Install]\n"),
        ];
        for (name, text) in units {
            machine.put(&format!("usr/lib/systemd/system/{name}"), text);
        }
        machine.answer("stat", "echo root:root:640");
        machine.answer(
            "systemd-creds",
            r#"case $1 in encrypt) cat >"$6" ;; decrypt) cat "$3" ;; esac"#,
        );
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Where a path of the package is.
    pub fn installed(&self, path: &str) -> PathBuf {
        self.at("root").join(path)
    }

    /// Makes a file.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.installed(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What an impostor does when it is called, in shell.
    pub fn answer(&self, name: &str, script: &str) {
        fs::write(self.at("answers").join(name), script).unwrap();
    }

    /// These services are active, these of them masked.
    pub fn active(&self, units: &[&str], masked: &[&str]) {
        let mut script = String::from("case \"$*\" in\n");
        for unit in masked {
            script.push_str(&format!("*is-enabled*{unit}) echo masked; exit 1 ;;\n"));
        }
        script.push_str("*is-enabled*) echo static ;;\n*state=active*)\n");
        script.push_str("for last in \"$@\"; do :; done\n");
        for unit in units {
            script.push_str(&format!(
                "case {unit} in $last) echo '{unit} loaded active running x' ;; esac\n"
            ));
        }
        script.push_str(";; esac");
        self.answer("systemctl", &script);
    }

    /// Runs a script as dpkg does.
    pub fn run(&self, script: &str, arguments: &[&str]) -> Ran {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let path = Path::new(&own).join("../packaging/deb").join(script);
        let _none_yet = fs::remove_file(self.at("calls"));
        let output = Command::new("/bin/sh")
            .arg(path)
            .args(arguments)
            .env_clear()
            .env("PATH", self.at("bin"))
            .env("DPKG_ROOT", self.at("root"))
            .env("SUDO_USER", "ada")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let root = self.at("root").display().to_string();
        let calls = fs::read_to_string(self.at("calls")).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
            calls: calls
                .lines()
                .map(|line| line.replace(&root, "ROOT"))
                .collect(),
        }
    }
}

impl Ran {
    /// It succeeded, with all the tools that it wanted.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        assert!(
            !self.err.contains("not found") && !self.err.contains("syntax"),
            "{}",
            self.err
        );
        self
    }

    /// Nothing had to be said.
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert_eq!(self.err, "");
        self.fine()
    }

    /// The calls that begin so.
    pub fn called(&self, beginning: &str) -> Vec<&str> {
        let calls = self.calls.iter().map(String::as_str);
        calls.filter(|call| call.starts_with(beginning)).collect()
    }

    /// Which call this was.
    #[track_caller]
    pub fn position(&self, call: &str) -> usize {
        let found = self.calls.iter().position(|line| line == call);
        found.unwrap_or_else(|| panic!("{call} is not among {:#?}", self.calls))
    }

    /// In this order, whatever stands between.
    #[track_caller]
    pub fn in_order(&self, calls: &[&str]) {
        let found: Vec<usize> = calls.iter().map(|call| self.position(call)).collect();
        assert!(found.is_sorted(), "{:#?}", self.calls);
    }
}
