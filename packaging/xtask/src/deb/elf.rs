//! What the programs need of a system, as they say it themselves: libraries, the newest version of their symbols, the
//! processor. A package that promises less would install where it cannot run.

use std::path::PathBuf;

use super::tool;

/// What all programs of a package have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    /// As dpkg names it: `amd64`.
    pub architecture: &'static str,
    /// `libc6 (>= 2.34), libgcc-s1 (>= 4.2)`.
    pub libraries: String,
}

/// Asks objdump.
///
/// # Errors
/// When a program is not understood, or needs a library that no package is known for.
pub fn facts(programs: &[PathBuf]) -> Result<Facts, String> {
    let headers = tool::text(tool::command("objdump").arg("-p").args(programs))?;
    understand(&headers)
}

/// A library, the package that has it, the name of its versions and the oldest version that is worth naming.
const LIBRARIES: [(&str, &str, &str, &[u32]); 5] = [
    ("libc.so.6", "libc6", "GLIBC_", &[2, 17]),
    ("libm.so.6", "libc6", "GLIBC_", &[2, 17]),
    ("ld-linux-x86-64.so.2", "libc6", "GLIBC_", &[2, 17]),
    ("ld-linux-aarch64.so.1", "libc6", "GLIBC_", &[2, 17]),
    ("libgcc_s.so.1", "libgcc-s1", "GCC_", &[3, 0]),
];

fn understand(headers: &str) -> Result<Facts, String> {
    let mut architecture = None;
    let mut newest: Vec<(&str, Vec<u32>)> = Vec::new();
    let mut library = None;
    for line in headers.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [.., "file", "format", format] => {
                let this = match *format {
                    "elf64-x86-64" => "amd64",
                    "elf64-littleaarch64" => "arm64",
                    other => {
                        return Err(format!(
                            "{other} is no processor that there is a package for"
                        ));
                    }
                };
                if architecture
                    .replace(this)
                    .is_some_and(|before| before != this)
                {
                    return Err("the programs are for different processors".into());
                }
            }
            ["NEEDED", name] => note(&mut newest, of(name)?, &[]),
            ["required", "from", name] => library = Some(of(name.trim_end_matches(':'))?),
            [_, _, _, version] if line.starts_with('\t') || line.starts_with("    0x") => {
                let Some(row) = library else { continue };
                // The form of relocations that came with this version, which is all that it says.
                let version = match *version {
                    "GLIBC_ABI_DT_RELR" => "GLIBC_2.36",
                    version => version,
                };
                let number = version.strip_prefix(row.2).and_then(numbers);
                let number = number.ok_or_else(|| format!("{} has no version {version}", row.0))?;
                note(&mut newest, row, &number);
            }
            _ => library = None,
        }
    }
    let written = newest.iter().map(|(package, version)| {
        let version: Vec<String> = version.iter().map(u32::to_string).collect();
        format!("{package} (>= {})", version.join("."))
    });
    Ok(Facts {
        architecture: architecture.ok_or("objdump found no program")?,
        libraries: written.collect::<Vec<_>>().join(", "),
    })
}

type Library = &'static (&'static str, &'static str, &'static str, &'static [u32]);

fn of(name: &str) -> Result<Library, String> {
    let row = LIBRARIES.iter().find(|row| row.0 == name);
    row.ok_or_else(|| format!("{name} is in no package that is known here"))
}

fn note(newest: &mut Vec<(&'static str, Vec<u32>)>, row: Library, version: &[u32]) {
    let version = version.max(row.3);
    match newest.iter_mut().find(|(package, _)| *package == row.1) {
        Some((_, known)) if known.as_slice() < version => *known = version.to_vec(),
        Some(_) => {}
        None => newest.push((row.1, version.to_vec())),
    }
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "
x:     file format elf64-x86-64

Dynamic Section:
  NEEDED               libgcc_s.so.1
  NEEDED               libc.so.6
  NEEDED               ld-linux-x86-64.so.2
  INIT                 0x0000000000001000

Version References:
  required from libgcc_s.so.1:
    0x0b792650 0x00 09 GCC_3.0
    0x0b792652 0x00 03 GCC_4.2.0
  required from libc.so.6:
    0x06969197 0x00 08 GLIBC_2.17
    0x069691b9 0x00 12 GLIBC_2.9
    0x069691b4 0x00 05 GLIBC_2.34
  required from ld-linux-x86-64.so.2:
    0x0d696913 0x00 04 GLIBC_2.3
";

    #[test]
    fn the_newest_version_of_each_library_counts() {
        let facts = understand(HEADERS).unwrap();
        assert_eq!(facts.architecture, "amd64");
        assert_eq!(facts.libraries, "libgcc-s1 (>= 4.2.0), libc6 (>= 2.34)");
        let relocations = HEADERS.replace("GLIBC_2.9", "GLIBC_ABI_DT_RELR");
        assert!(understand(&relocations).unwrap().libraries.contains("2.36"));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for (from, to) in [
            ("libgcc_s.so.1", "libssl.so.3"),
            ("GLIBC_2.34", "GLIBC_PRIVATE"),
            ("elf64-x86-64", "elf32-i386"),
        ] {
            assert!(understand(&HEADERS.replace(from, to)).is_err(), "{to}");
        }
        let arm = HEADERS.replace("elf64-x86-64", "elf64-littleaarch64");
        assert!(understand(&format!("{HEADERS}{arm}")).is_err());
        assert_eq!(understand(&arm).unwrap().architecture, "arm64");
        assert!(understand("").is_err());
    }
}
