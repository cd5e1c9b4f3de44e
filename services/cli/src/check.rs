//! Reads the configuration file and says everything that is wrong with it. A variable that the file names and nobody
//! set is wrong too: the assistant would refuse to work.

use clawdbot_config::{Loaded, SecretRef, Source};
use clawdbot_secrets::EnvironmentFile;
use clawdbot_service::system::{ENVIRONMENT, ETC};
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::{EXIT_CONFIG, Failure};
use crate::out::Out;
use crate::place::Place;
use crate::remote;

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

/// Whether the configuration wants tool calls shown. One that does not load has no wishes. Where the file is closed to this
/// person policy is asked.
pub fn shows_tools(place: &Place) -> bool {
    const WISH: &str = "agents.defaults.verboseDefault";
    let wish = match remote::is_closed(place) {
        true => remote::wish(WISH, place),
        false => { clawdbot_config::load(&place.config).ok() }.and_then(|loaded| loaded.get(WISH)),
    };
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
#[derive(Default)]
struct Environment {
    /// What the system's environment file says; nothing also where there is one that may not be read.
    file: EnvironmentFile,
    /// A system configuration whose environment cannot be seen from here.
    hidden: bool,
}

impl Environment {
    fn of(place: &Place) -> Self {
        if !place.config.starts_with(ETC) {
            return Self::default();
        }
        match std::fs::read(ENVIRONMENT).map(Zeroizing::new) {
            Ok(bytes) => Self {
                file: EnvironmentFile::parse(&bytes),
                hidden: false,
            },
            Err(error) => Self {
                file: EnvironmentFile::default(),
                hidden: error.kind() != std::io::ErrorKind::NotFound,
            },
        }
    }

    fn lacks(&self, wanted: &SecretRef) -> bool {
        let own = std::env::var_os(&wanted.id);
        let set = own.is_some_and(|value| !value.is_empty())
            || self
                .file
                .get(&wanted.id)
                .is_some_and(|value| !value.is_empty());
        wanted.source == Source::Env && !self.hidden && !set
    }
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
        let text = "CLAWDBOT_T_A=1\n  CLAWDBOT_T_B=x\nCLAWDBOT_T_C=\n#CLAWDBOT_T_D=1\nCLAWDBOT_T_EE=1\n\
                    CLAWDBOT_T_F='two\nlines'\nCLAWDBOT_T_G=1\nCLAWDBOT_T_G=\nCLAWDBOT_T_H=\"\"\nCLAWDBOT_T_I='1\nCLAWDBOT_T_J=1\n";
        let environment = Environment {
            file: EnvironmentFile::parse(text.as_bytes()),
            hidden: false,
        };
        let wanted = |name: &str, source| SecretRef {
            source,
            id: format!("CLAWDBOT_T_{name}"),
        };
        for (name, set) in [
            ("A", true),
            ("B", true),
            ("C", false),
            ("D", false),
            ("E", false),
            ("EE", true),
            // As the service manager reads it: quotes hold lines together, and the last of two counts.
            ("F", true),
            ("G", false),
            ("H", false),
            ("J", false),
        ] {
            assert_eq!(
                !environment.lacks(&wanted(name, Source::Env)),
                set,
                "{name}"
            );
        }
        assert!(!environment.lacks(&wanted("C", Source::File)));
        let hidden = Environment {
            hidden: true,
            ..Environment::default()
        };
        assert!(!hidden.lacks(&wanted("C", Source::Env)));
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
