//! The sentence for a person: what is wrong, where, and what to do. Only what came out of the blanking goes into it.

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::ModelError;
use clawdbot_secrets::{Secret, redact};

use super::{Fault, Kind};

/// Characters of the provider's own words that are shown.
const SHOWN: usize = 300;

/// Where it happened.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub provider: &'a str,
    pub model: &'a str,
    /// The log-in profile, where there is more than one.
    pub profile: Option<&'a str>,
    /// Host and port.
    pub address: &'a str,
    /// Whether the server is an Ollama, which fetches models by itself.
    pub ollama: bool,
}

/// The error as agents and people see it.
pub fn say(fault: &Fault, place: &Place<'_>, secrets: &[&Secret]) -> ModelError {
    let seconds = fault.retry_after.map_or(0, |pause| {
        u32::try_from(pause.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    });
    let mut message = sentence(fault.kind, place, &shown(&fault.detail, secrets));
    if seconds > 0 {
        message.push_str(&format!(" Next try possible in {}.", span(seconds)));
    }
    ModelError {
        class: fault.kind.class().into(),
        message,
        retry_after_seconds: seconds,
        again: false,
    }
}

/// What the other side said, harmless and short.
fn shown(detail: &str, secrets: &[&Secret]) -> String {
    let blanked = redact::text(detail.trim(), secrets);
    let line = sanitize_line(&blanked);
    match line.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.trim_end_matches('.').to_owned(),
    }
}

fn sentence(kind: Kind, place: &Place<'_>, detail: &str) -> String {
    let Place {
        provider,
        model,
        address,
        ..
    } = place;
    let profile = place
        .profile
        .map_or(String::new(), |profile| format!(" of profile {profile}"));
    let key = match place.profile {
        Some(profile) => format!(
            "Set another with `clawdbot login --provider {provider}` or under models.providers.{provider} (profile {profile})."
        ),
        None => format!("Set another with `clawdbot login --provider {provider}`."),
    };
    match kind {
        Kind::NoKey => format!("There is no key for {provider}: {detail}."),
        Kind::Auth => format!("{provider} refuses the key{profile} ({detail}). {key}"),
        Kind::Billing => format!(
            "The account at {provider}{profile} cannot pay ({detail}). Add credit there, or choose a model of another provider."
        ),
        Kind::RateLimit => format!("{provider} takes no more requests for now ({detail})."),
        Kind::Overloaded => format!("{provider} is overloaded ({detail}). Try again in a minute."),
        Kind::Server => format!("{provider} failed by itself ({detail}). Try again in a minute."),
        Kind::UnknownModel if place.ollama => format!(
            "{provider} has no model {model} ({detail}). Fetch it with `ollama pull {model}`, or choose another."
        ),
        Kind::UnknownModel => format!(
            "{provider} has no model {model}, or not for this key ({detail}). Check the name in agents.defaults.model."
        ),
        Kind::Overflow => {
            format!("The conversation is too long for {provider}/{model} ({detail}).")
        }
        Kind::Invalid => format!("{provider} does not accept the request ({detail})."),
        Kind::WebPage => format!(
            "{address} answers with a web page and not as a model provider ({detail}). Check models.providers.{provider}.baseUrl, and whether something between here and there asks for a log-in."
        ),
        Kind::NoInterface => format!(
            "{address} does not know this interface ({detail}). Check models.providers.{provider}.baseUrl and .api."
        ),
        Kind::Redirect => format!(
            "{address} sends us elsewhere, which is not followed ({detail}). Write the final address into models.providers.{provider}.baseUrl."
        ),
        Kind::Truncated => format!("The answer of {provider} broke off before its end ({detail})."),
        Kind::Malformed => format!("The answer of {provider} cannot be understood ({detail})."),
        Kind::TooLarge => format!("The answer of {provider} is too large ({detail})."),
        Kind::Timeout => format!("{provider} does not answer in time ({detail})."),
        Kind::Unreachable if place.ollama => format!(
            "{provider} at {address} cannot be reached: {detail}. Is it running? `ollama serve` starts it."
        ),
        Kind::Unreachable => format!("{provider} at {address} cannot be reached: {detail}."),
        Kind::Config => format!("The worker for {provider} cannot work: {detail}."),
    }
}

/// A time span in the largest unit that fits.
fn span(seconds: u32) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PLACE: Place<'static> = Place {
        provider: "anthropic",
        model: "claude-x",
        profile: None,
        address: "api.anthropic.com:443",
        ollama: false,
    };

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec().into()).unwrap()
    }

    #[test]
    fn a_wrong_key_names_the_remedy_and_never_the_key() {
        let key = secret("sk-ant-0123456789");
        let fault = Fault::new(Kind::Auth, "bad key sk-ant-0123456789\r\n\u{1b}[31m");
        let error = say(&fault, &PLACE, &[&key]);
        assert_eq!(
            error.message,
            "anthropic refuses the key (bad key [secret]\\r\\n\\u{1b}[31m). Set another with `clawdbot login --provider anthropic`."
        );
        let open = say(&fault, &PLACE, &[]);
        assert!(
            open.message.contains("sk-ant-0123456789"),
            "the test's own key is what was blanked"
        );
    }

    #[test]
    fn a_key_across_the_cut_leaves_no_half() {
        let key = secret("sk-ant-0123456789");
        let detail = format!("{}{}", "x".repeat(SHOWN - 8), "sk-ant-0123456789");
        let error = say(&Fault::new(Kind::Invalid, detail), &PLACE, &[&key]);
        assert!(!error.message.contains("sk-"), "{}", error.message);
        assert!(error.message.contains("[secret]"));
    }

    #[test]
    fn long_words_are_cut_and_pauses_are_told() {
        let mut fault = Fault::new(Kind::RateLimit, "y".repeat(5000));
        fault.retry_after = Some(Duration::from_millis(90_500));
        let error = say(&fault, &PLACE, &[]);
        assert_eq!(error.retry_after_seconds, 91);
        assert!(error.message.len() < SHOWN + 120 && error.message.contains("in 91 s."));
        assert_eq!((span(121), span(7200)), ("3 min".into(), "2 h".into()));
    }
}
