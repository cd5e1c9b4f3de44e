//! Which rows there are, as the build that can leave them out tells it, and which of them were asked for.

use std::fmt;

use crate::cargo::{self, Built};

/// What to leave out.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Options {
    /// Only this profile's, and only for it; shared rows too.
    pub profile: Option<String>,
    /// The first whose name contains this and those after it; the results of those before it are known.
    pub from: Option<String>,
    /// Those whose name contains one of these.
    pub rows: Vec<String>,
}

impl Options {
    /// From the words of a command line.
    pub fn read(words: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--profile" => options.profile = Some((*words.next()?).into()),
                "--from" => options.from = Some((*words.next()?).into()),
                flag if flag.starts_with('-') => return None,
                row => options.rows.push(row.into()),
            }
        }
        Some(options)
    }
}

/// A row of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub profile: String,
    mode: String,
    pub name: String,
}

impl Row {
    pub fn first_tests(&self) -> &'static [&'static str] {
        match self.mode.as_str() {
            "system" => super::FIRST_IN_SYSTEM_MODE,
            _ => super::FIRST,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode.as_str() {
            "both" => f.write_str(&self.name),
            mode => write!(f, "{} ({mode} mode)", self.name),
        }
    }
}

/// All rows of all profiles, from the program that prints them.
pub fn list(built: &[Built]) -> Result<Vec<Row>, String> {
    let program = built
        .iter()
        .find(|built| built.target == "rows")
        .ok_or("cargo built no example rows")?;
    let output = cargo::clean(&program.path)
        .output()
        .map_err(|error| format!("{}: {error}", program.path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(understand).collect())
}

/// `profile, mode, name`, with tabs.
fn understand(line: &str) -> Option<Row> {
    let mut parts = line.split('\t').map(String::from);
    Some(Row {
        profile: parts.next()?,
        mode: parts.next()?,
        name: parts.next()?,
    })
}

/// Those that were asked for, each once: several profiles share rows.
pub fn choose(all: &[Row], options: &Options) -> Result<Vec<Row>, String> {
    let mut chosen: Vec<Row> = Vec::new();
    for row in all {
        let profile = options
            .profile
            .as_ref()
            .is_none_or(|name| *name == row.profile);
        let named =
            options.rows.is_empty() || options.rows.iter().any(|part| row.name.contains(part));
        if profile && named && chosen.iter().all(|other| other.name != row.name) {
            chosen.push(row.clone());
        }
    }
    match chosen.is_empty() {
        true => Err("no row of any profile is called so".into()),
        false => Ok(chosen),
    }
}

/// Where to begin.
pub fn position(rows: &[Row], from: Option<&str>) -> Result<usize, String> {
    let Some(from) = from else { return Ok(0) };
    let found = rows.iter().position(|row| row.name.contains(from));
    found.ok_or_else(|| format!("no row is called {from}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Row> {
        let text = "a\tboth\tbase.toml:1 read()\na\tsystem\ta.toml:2 connect()\nb\tboth\tbase.toml:1 read()\n";
        text.lines().filter_map(understand).collect()
    }

    fn names(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.name.as_str()).collect()
    }

    #[test]
    fn a_shared_row_is_left_out_once_and_a_profile_s_own_by_its_name() {
        let options = |words: &[&str]| Options::read(words).unwrap();
        let everything = choose(&all(), &options(&[])).unwrap();
        assert_eq!(
            names(&everything),
            ["base.toml:1 read()", "a.toml:2 connect()"]
        );
        let of_b = choose(&all(), &options(&["--profile", "b"])).unwrap();
        assert_eq!(names(&of_b), ["base.toml:1 read()"]);
        let named = choose(&all(), &options(&["a.toml"])).unwrap();
        assert_eq!(names(&named), ["a.toml:2 connect()"]);
        assert!(choose(&all(), &options(&["write"])).is_err());
        assert_eq!(position(&everything, Some("connect")), Ok(1));
        assert!(position(&everything, Some("write")).is_err());
    }

    #[test]
    fn rows_of_system_mode_are_tried_there() {
        assert_eq!(all()[0].first_tests(), ["work"]);
        assert_eq!(all()[1].first_tests(), ["system_mode"]);
    }

    #[test]
    fn unknown_words_are_refused() {
        assert_eq!(Options::read(&["--fast"]), None);
        assert_eq!(Options::read(&["--from"]), None);
    }
}
