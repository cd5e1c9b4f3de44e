//! Reads the configuration file and says everything that is wrong with it. A variable that the file names and nobody
//! set is wrong too: the assistant would refuse to work.

use std::ffi::OsStr;
use std::path::Path;

use clawdbot_config::{Loaded, SecretRef, Source};
use serde_json::json;

use crate::failure::{EXIT_CONFIG, Failure};
use crate::out::Out;
use crate::place::Place;

/// Where the service manager's environment of the assistant is written down.
const SYSTEM: &str = "/etc/clawdbot";

/// The configuration in `place`, with every variable set that it names.
///
/// # Errors
/// Exit status 78 with all mistakes rendered.
pub fn load(place: &Place, out: Out) -> Result<Loaded, Failure> {
    let loaded = read(place, out)?;
    let unset = unset(place, &loaded);
    match unset.is_empty() {
        true => Ok(loaded),
        false => Err(unset_variables(place, &unset)),
    }
}

/// The settings that name a variable which nobody set, with its name.
pub fn unset(place: &Place, loaded: &Loaded) -> Vec<(String, String)> {
    let environment = Environment::of(place);
    let references = loaded.config.references().iter();
    references
        .filter(|(_, wanted)| environment.lacks(wanted))
        .map(|(path, wanted)| (path.to_string(), wanted.id.clone()))
        .collect()
}

/// The configuration in `place`, whatever the environment holds.
///
/// # Errors
/// Exit status 78 with all mistakes rendered.
pub fn read(place: &Place, out: Out) -> Result<Loaded, Failure> {
    clawdbot_config::load(&place.config).map_err(|error| {
        Failure::new(
            "config.invalid",
            "the configuration is not valid; nothing works until it is",
        )
        .exit(EXIT_CONFIG)
        .evidence(error.render(out.err.color()), error.to_json())
        .remedy("correct the file; `clawdbot config validate` checks it again")
    })
}

/// Whether the configuration wants tool calls shown. One that does not load has no wishes.
pub fn shows_tools(place: &Place) -> bool {
    let wish = clawdbot_config::load(&place.config)
        .ok()
        .and_then(|loaded| loaded.get("agents.defaults.verboseDefault"));
    wish.as_ref()
        .and_then(|wish| wish.as_str())
        .is_some_and(|wish| wish != "off")
}

fn unset_variables(place: &Place, unset: &[(String, String)]) -> Failure {
    let file = place.config.display().to_string();
    let lines: Vec<String> = unset
        .iter()
        .map(|(path, name)| format!("{path}: the variable {name} is not set"))
        .collect();
    let errors: Vec<_> = unset
        .iter()
        .zip(&lines)
        .map(|((path, _), line)| json!({ "message": line, "path": path }))
        .collect();
    let text = lines
        .iter()
        .map(|line| format!("{file}: {line}\n"))
        .collect();
    Failure::new(
        "config.unset",
        "the configuration names variables that are not set",
    )
    .exit(EXIT_CONFIG)
    .evidence(text, json!({ "file": file, "errors": errors, "more": 0 }))
    .remedy("set them where `clawdbot up` is started, or take them out of the file")
}

/// The variables that the assistant will find.
struct Environment {
    /// The text of the system's environment file; `None` also where there is one that may not be read.
    file: Option<String>,
    /// A system configuration whose environment cannot be seen from here.
    hidden: bool,
}

impl Environment {
    fn of(place: &Place) -> Self {
        if !place.config.starts_with(SYSTEM) {
            return Self {
                file: None,
                hidden: false,
            };
        }
        match std::fs::read_to_string(Path::new(SYSTEM).join("environment")) {
            Ok(text) => Self {
                file: Some(text),
                hidden: false,
            },
            Err(error) => Self {
                file: None,
                hidden: error.kind() != std::io::ErrorKind::NotFound,
            },
        }
    }

    fn lacks(&self, wanted: &SecretRef) -> bool {
        wanted.source == Source::Env
            && !self.hidden
            && std::env::var_os(&wanted.id)
                .as_deref()
                .is_none_or(OsStr::is_empty)
            && !self
                .file
                .as_deref()
                .is_some_and(|text| sets(text, &wanted.id))
    }
}

/// Whether a file of `NAME=VALUE` lines gives `name` a value.
fn sets(text: &str, name: &str) -> bool {
    let value = |line: &str| {
        line.trim_start()
            .strip_prefix(name)?
            .strip_prefix('=')
            .map(|value| !value.trim().is_empty())
    };
    text.lines().any(|line| value(line) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Style;

    const OUT: Out = Out {
        json: false,
        verbose: false,
        style: Style::PLAIN,
        err: Style::PLAIN,
    };

    fn place(text: &str) -> (tempfile::TempDir, Place) {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("clawdbot.json");
        std::fs::write(&config, text).unwrap();
        let place = Place {
            state: directory.path().to_owned(),
            config,
            ..Place::default()
        };
        (directory, place)
    }

    #[test]
    fn a_file_that_does_not_load_is_told_with_its_place_and_exit_status_78() {
        let (_directory, place) = place("{ gateway: { prot: 1 } }");
        let failure = load(&place, OUT).err().unwrap();
        assert_eq!(failure.exit, 78);
        let evidence = failure.evidence.unwrap();
        assert!(
            evidence.text.contains("clawdbot.json:1:14:"),
            "{}",
            evidence.text
        );
        assert_eq!(evidence.json["errors"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_variable_that_nobody_set_is_an_error_and_a_set_one_is_not() {
        let named =
            |name: &str| format!("{{ channels: {{ telegram: {{ botToken: \"${{{name}}}\" }} }} }}");
        let (_directory, unset) = place(&named("CLAWDBOT_TEST_UNSET"));
        let failure = load(&unset, OUT).err().unwrap();
        assert_eq!((failure.exit, failure.code.as_str()), (78, "config.unset"));
        assert!(
            failure
                .evidence
                .unwrap()
                .text
                .contains("channels.telegram.botToken: the variable CLAWDBOT_TEST_UNSET")
        );
        assert!(read(&unset, OUT).is_ok());
        let (_directory, set) = place(&named("PATH"));
        assert!(load(&set, OUT).is_ok());
    }

    #[test]
    fn an_environment_file_sets_what_has_a_value_there() {
        let text = "A=1\n  B=x\nC=\n#D=1\nEE=1\n";
        for (name, set) in [
            ("A", true),
            ("B", true),
            ("C", false),
            ("D", false),
            ("E", false),
            ("EE", true),
        ] {
            assert_eq!(sets(text, name), set, "{name}");
        }
    }

    #[test]
    fn tool_calls_are_shown_when_the_configuration_says_so() {
        for (wish, shown) in [("on", true), ("full", true), ("off", false)] {
            let (_directory, place) = place(&format!(
                "{{ agents: {{ defaults: {{ verboseDefault: \"{wish}\" }} }} }}"
            ));
            assert_eq!(shows_tools(&place), shown, "{wish}");
        }
        assert!(!shows_tools(&place("{}").1));
        assert!(!shows_tools(&place("{ nonsense").1));
    }
}
