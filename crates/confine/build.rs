//! Reads `profiles/` and writes the tables; see `build/mod.rs` for what it refuses.

#[path = "build/mod.rs"]
mod profiles;

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

fn main() {
    println!("cargo::rerun-if-changed=profiles");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(message) = run() {
        println!("cargo::error={message}");
        process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let files = read(Path::new("profiles")).map_err(|error| format!("profiles: {error}"))?;
    let code = profiles::generate(&files).map_err(|mistake| mistake.to_string())?;
    let target = Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("profiles.rs");
    fs::write(&target, code).map_err(|error| format!("{}: {error}", target.display()))
}

/// The profiles by name and text, sorted.
fn read(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    let named = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok((name.into_owned(), fs::read_to_string(path)?))
    };
    paths.iter().map(named).collect()
}
