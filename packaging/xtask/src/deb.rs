//! `cargo xtask deb`: the Debian package. dpkg-deb makes it out of a folder that this fills from one list of files; the
//! control file and the maintainer scripts are our own, so that a tool that writes them for us (cargo-deb, debhelper) would
//! add nothing but itself to what has to be trusted and installed. Two builds give the same bytes.

mod assets;
mod control;
mod elf;
mod libraries;
mod programs;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Done, cargo};
use assets::Tree;
use programs::Programs;

/// Largest package that is shipped, bytes, and the most that it takes up when it is installed.
const PACKAGE_MAX: u64 = 25_000_000;
const INSTALLED_MAX: u64 = 70_000_000;

/// What to build, and from what.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Programs that are there, instead of a build of their own.
    programs: Option<PathBuf>,
    /// Where the packages go; `target/deb` when left out.
    out: Option<PathBuf>,
    /// Build two times and compare.
    twice: bool,
    /// Another version than the workspace's.
    version: Option<String>,
}

impl Options {
    /// Reads the words of the command line.
    pub fn read(words: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--twice" => options.twice = true,
                "--programs" => options.programs = Some(words.next()?.into()),
                "--out" => options.out = Some(words.next()?.into()),
                "--version" => options.version = Some((*words.next()?).to_owned()),
                _ => return None,
            }
        }
        Some(options)
    }
}

/// What a package is made as.
struct Recipe {
    version: String,
    /// Seconds since 1970: the time of everything in it.
    epoch: String,
    /// Made for use and not for a test.
    shipped: bool,
}

impl Recipe {
    fn of(options: &Options) -> Result<Self, String> {
        let version = options.version.as_deref();
        Ok(Self {
            version: version.unwrap_or(env!("CARGO_PKG_VERSION")).to_owned(),
            epoch: tool::epoch()?,
            shipped: options.programs.is_none(),
        })
    }
}

pub fn run(options: &Options) -> Done {
    tool::install()?;
    let recipe = Recipe::of(options)?;
    let out = match &options.out {
        Some(out) => {
            std::path::absolute(out).map_err(|error| format!("{}: {error}", out.display()))?
        }
        None => cargo::target()?.join("deb"),
    };
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let first = once(options, &recipe, &out)?;
    if options.twice {
        let before = read_all(&first)?;
        let second = once(options, &recipe, &out)?;
        let same = first == second && before == read_all(&second)?;
        if !same {
            return Err("a second build gave other bytes".into());
        }
        println!("a second build gave the same bytes");
    }
    Ok(0)
}

/// Builds the package as it is shipped; where it is.
///
/// # Errors
/// When something does not compile, or a tool cannot be had.
pub fn shipped() -> Result<PathBuf, String> {
    let options = Options::default();
    tool::install()?;
    let recipe = Recipe::of(&options)?;
    let out = cargo::target()?.join("deb");
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let mut packages = once(&options, &recipe, &out)?;
    Ok(packages.swap_remove(0))
}

/// Makes the package of programs that are there, for tests; where it is.
///
/// # Errors
/// When a program is missing or a tool cannot be had.
pub fn of(programs: &Path, out: &Path) -> Result<PathBuf, String> {
    tool::install()?;
    let options = Options {
        programs: Some(programs.to_owned()),
        ..Options::default()
    };
    let recipe = Recipe::of(&options)?;
    fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let mut packages = once(&options, &recipe, out)?;
    Ok(packages.swap_remove(0))
}

fn read_all(packages: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read =
        |path: &PathBuf| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    packages.iter().map(read).collect()
}

/// Builds the packages; where they are.
fn once(options: &Options, recipe: &Recipe, out: &Path) -> Result<Vec<PathBuf>, String> {
    let programs = match &options.programs {
        Some(folder) => Programs::found(folder)?,
        None => Programs::build(options.twice, &recipe.epoch)?,
    };
    let scratch = tool::Scratch::new(out)?;
    let tree = Tree::new(scratch.path().join("clawdbot"));
    assets::fill(&tree, &programs, recipe)?;
    let mut debug = None;
    if recipe.shipped {
        let symbols = Tree::new(scratch.path().join("dbgsym"));
        let ids = assets::split(&tree, &symbols)?;
        debug = Some((symbols, ids));
    } else {
        assets::strip(&tree)?;
    }
    let facts = elf::facts(&tree.programs()?)?;
    let mut packages = Vec::new();
    let main = control::main(&tree, recipe, &facts)?;
    packages.push(pack(&tree, "clawdbot", &main, recipe, &facts, out)?);
    if let Some((symbols, ids)) = debug {
        let text = control::symbols(&symbols, recipe, &facts, &ids)?;
        packages.push(pack(
            &symbols,
            "clawdbot-dbgsym",
            &text,
            recipe,
            &facts,
            out,
        )?);
    }
    check(&packages[0], tree.bytes()?, recipe.shipped)?;
    if recipe.shipped {
        tool::judge(&packages)?;
    }
    for package in &packages {
        println!("{}", package.display());
    }
    Ok(packages)
}

/// Makes one package out of its folder.
fn pack(
    tree: &Tree,
    name: &str,
    control: &str,
    recipe: &Recipe,
    facts: &elf::Facts,
    out: &Path,
) -> Result<PathBuf, String> {
    control::write(tree, name, control)?;
    let file = format!("{name}_{}_{}.deb", recipe.version, facts.architecture);
    let package = out.join(file);
    // One thread: the blocks that several make differ with their number. A test need not wait for small bytes.
    let level = if recipe.shipped { "-z6" } else { "-z0" };
    tool::run(
        tool::command("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", &recipe.epoch)
            .args([
                "--root-owner-group",
                "--threads-max=1",
                "-Zxz",
                level,
                "--build",
            ])
            .args([tree.root(), &package]),
    )?;
    Ok(package)
}

fn check(package: &Path, installed: u64, shipped: bool) -> Result<(), String> {
    let size = fs::metadata(package)
        .map_err(|error| format!("{}: {error}", package.display()))?
        .len();
    let megabytes = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
    println!(
        "package {}, installed {}",
        megabytes(size),
        megabytes(installed)
    );
    match shipped && (size > PACKAGE_MAX || installed > INSTALLED_MAX) {
        true => Err(format!(
            "that is more than {} and {}",
            megabytes(PACKAGE_MAX),
            megabytes(INSTALLED_MAX)
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_with_their_values_and_nothing_else() {
        let options = Options::read(&[
            "--programs",
            "a",
            "--out",
            "b",
            "--twice",
            "--version",
            "1.2",
        ])
        .unwrap();
        assert_eq!(options.programs.as_deref(), Some(Path::new("a")));
        assert_eq!(options.out.as_deref(), Some(Path::new("b")));
        assert!(options.twice && options.version.as_deref() == Some("1.2"));
        assert_eq!(Options::read(&[]), Some(Options::default()));
        for wrong in [&["--programs"][..], &["x"], &["--fast"]] {
            assert_eq!(Options::read(wrong), None);
        }
    }
}
