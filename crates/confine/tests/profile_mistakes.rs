//! What is wrong in a profile ends the build with file, line and remedy. The build's own code is called on
//! texts, each with one mistake, and on the same texts without it.

#[path = "../build/mod.rs"]
mod build;

/// A base section and a profile: nothing is wrong.
const BASE: &str = r#"[calls]
allow = [
  "read", "write",
  "fcntl(arg1 == F_GETFD | F_SETFD)",
  "x86_64: poll", "ppoll",
  "system: connect",
]
refuse = [
  "execve -> EPERM",
  "single: connect -> EPERM",
]
"#;
const PROFILE: &str = r#"include = ["base"]

[calls]
allow = [
  "close",
]

[files]
own = ["STATE/queue"]
read = ["/etc/hosts?"]

[network]
namespace = "own"

[limits]
nofile = 64
"#;

/// What the build says to both files.
fn said(base: &str, profile: &str) -> Result<(), String> {
    let files = [("base", base), ("probe", profile)];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let tables = build::generate(&files).map_err(|mistake| mistake.to_string())?;
    assert!(tables.contains("static PROBE: Section"));
    Ok(())
}

/// In each line a replacement in the profile, the line of the mistake and what is said about it.
const IN_THE_PROFILE: &str = r#"nofile = 64 => nofile = x => 16 => string values must be quoted
nofile = 64 => nofile = -1 => 16 => a number is needed here
nofile = 64 => nofiles = 64 => 16 => unknown key `nofiles`; the nearest known one is `nofile`
[limits] => [limit] => 15 => unknown key `limit`; the nearest known one is `limits`
[network] => [landlock] => 12 => unknown key `landlock`
namespace = "own" => namespace = "mine" => 13 => one of ["host", "own"] is needed here
namespace = "own" => connect = true => 13 => unknown key `connect`; the nearest known one is `connect_tcp`
include = ["base"] => include = ["bass"] => 1 => unknown section `bass`; the nearest known one is `base`
include = ["base"] => include = ["base", "base"] => 1 => `base` is included already
include = ["base"] => include = ["base"]\nfilter = false => 1 => a profile without filter has neither calls nor files
allow = [ => permit = [ => 4 => unknown key `permit`; the nearest known one is
close => clsoe => 5 => `clsoe`: unknown system call `clsoe`; the nearest known one is `close`
close => fcntl(arg1 == F_GETFX) => 5 => unknown constant `F_GETFX`; the nearest known one is `F_GETFD`
close => fcntl(arg6 == F_GETFD) => 5 => `arg6`: a call has arguments 0 to 5
close => fcntl(fd == 1) => 5 => `fd` is neither argN nor ptrN
close => fcntl(arg1 = 1) => 5 => needs one `==` or `!=`
close => fcntl(arg1 & 1 != 1) => 5 => a mask goes with `==` only
close => fcntl(arg1 == 1 => 5 => a `)` is missing at the end
close => fcntl(arg1 == 0xg) => 5 => `0xg`: invalid digit
close => close -> EPERM => 5 => rows under `refuse` end with `-> ERRNO`, others do not
allow = [ => refuse = [ => 5 => rows under `refuse` end with `-> ERRNO`, others do not
close => double: close => 5 => the prefix `double` is none of
close => x86_64: close => 5 => aarch64 has this call as well; leave `x86_64:` out
close => stat => 5 => aarch64 has no such call; write `x86_64: stat`
close => x86_64: stat => 5 => aarch64 does this by `newfstatat`, for which probe has no such row
close => x86_64: fork => 5 => say in crates/confine/build/names.rs which call does this on aarch64
"close", => "close",\n  "close", => 6 => `close`: stands there twice: see `close` in crates/confine/profiles/probe.toml:5
close => read => 5 => `read`: stands there twice: see `read` in crates/confine/profiles/base.toml:3
close => read(arg0 == 3) => 5 => can never matter: see `read` in crates/confine/profiles/base.toml:3
close => fcntl(arg0 == 7, arg1 == F_SETFD) => 5 => can never matter: see `fcntl(arg1 == F_GETFD | F_SETFD)`
"close", => "fcntl(arg1 == 7)",\n  "fcntl(arg0 == 1)", "fcntl(arg1 != 9)", => 5 => `fcntl(arg1 == 7)`: can never matter: see `fcntl(arg1 != 9)` in crates/confine/profiles/probe.toml:6
close => execve => 5 => can never matter: see `execve -> EPERM`
close => single: connect => 5 => can never matter: see `single: connect -> EPERM`
close => lseek(arg2 == 1, arg2 == 2) => 5 => its conditions can never hold together
close => lseek(arg2 == 1, arg2 != 1) => 5 => its conditions can never hold together
close => lseek(arg2 & 0xf == 0x10) => 5 => no argument has such bits
close => lseek(arg2 == 0x100000000) => 5 => no argument has such bits
own = [ => keep = [ => 9 => unknown key `keep`
STATE/queue => CONFG => 9 => `CONFG`: unknown place `CONFG`; the nearest known one is `CONFIG`
STATE/queue => /etc => 9 => only folders in STATE, and PLAN, are a process's own
STATE/queue => STATE/../etc => 9 => small letters, digits and `-`, or INSTANCE
STATE/queue => both: STATE/queue => 9 => the prefix is neither `single` nor `system`
/etc/hosts? => /etc/../hosts => 10 => no empty parts, no `.` and no `..`
/etc/hosts? => /etc/hosts?", "/etc/hosts => 10 => `/etc/hosts` is permitted already in crates/confine/profiles/probe.toml:10
/etc/hosts? => /etc", "/etc/hosts => 10 => `/etc/hosts` is permitted already
/etc/hosts? => /etc/hosts", "single: /etc/hosts => 10 => `/etc/hosts` is permitted already
"#;

/// The same in the section that the profile includes.
const IN_THE_BASE: &str = r#""read" => "raed" => 3 => unknown system call `raed`; the nearest known one is `read`
EPERM => EPREM => 9 => unknown constant `EPREM`; the nearest known one is `EPERM`
[calls] => filter = false\n[calls] => 1 => unknown key `filter`
, "ppoll" =>  => 5 => `x86_64: poll`: aarch64 does this by `ppoll`, for which probe has no such row
"#;

#[test]
fn a_mistake_in_a_profile_is_named_with_its_line() {
    assert_eq!(said(BASE, PROFILE), Ok(()));
    let mut unexpected = Vec::new();
    for (rows, file, good) in [
        (IN_THE_PROFILE, "probe", PROFILE),
        (IN_THE_BASE, "base", BASE),
    ] {
        for row in rows.lines() {
            let parts: Vec<&str> = row.split(" => ").collect();
            let [old, new, line, message] = parts[..] else {
                panic!("{row}");
            };
            assert!(good.contains(old), "{row}");
            let bad = good.replacen(old, &new.replace("\\n", "\n"), 1);
            let said = match file {
                "base" => said(&bad, PROFILE),
                _ => said(BASE, &bad),
            };
            let said = said.expect_err(row);
            let place = format!("crates/confine/profiles/{file}.toml:{line}: ");
            if !said.starts_with(&place) || !said.contains(message) {
                unexpected.push(format!("{row}\n  {said}"));
            }
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    // What only the profile makes pointless is said there.
    let error = said(&BASE.replace("\"read\"", "\"close\""), PROFILE).unwrap_err();
    assert!(error.starts_with("crates/confine/profiles/probe.toml:5: `close`: stands there twice"));
}

#[test]
fn rows_that_each_say_something_are_no_mistake() {
    let rows = [
        // Of two modes, of different arguments, and a refusal that takes something out of a permission.
        "single: lseek\", \"system: lseek(arg2 == 1)",
        "lseek(arg2 == 1)\", \"lseek(arg2 == 2)",
        "lseek(arg2 != 1 | 2)\", \"lseek(arg2 == 1)",
        "lseek(arg2 & 0xf == 1)\", \"lseek(arg2 & 0xf == 2)",
        "lseek(arg2 == 1)\", \"lseek(ptr2 == 2)",
        "kill(arg0 == self)\", \"kill(arg0 == 1)",
        "connect(arg0 == 3)",
        // More than the section permits.
        "fcntl",
    ];
    for row in rows {
        assert_eq!(
            said(BASE, &PROFILE.replacen("close", row, 1)),
            Ok(()),
            "{row}"
        );
    }
    let refused = PROFILE.replacen(
        "[files]",
        "refuse = [\"read(arg0 == 3) -> EPERM\"]\n[files]",
        1,
    );
    assert_eq!(said(BASE, &refused), Ok(()));
    let other_mode = PROFILE.replacen("/etc/hosts?", "single: /etc/a\", \"system: /etc/a", 1);
    assert_eq!(said(BASE, &other_mode), Ok(()));
}

#[test]
fn a_section_that_nobody_includes_is_a_mistake() {
    let alone = said(BASE, &PROFILE.replacen("include = [\"base\"]", "", 1)).unwrap_err();
    assert_eq!(
        alone,
        "crates/confine/profiles/base.toml:1: no profile includes this section"
    );
}
