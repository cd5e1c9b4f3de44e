//! Why there is no answer, as told to whom: the owner gets the whole story with the remedy, everybody else a sentence that
//! says nothing about the owner's accounts and machine, under the same stable code.

use clawdbot_proto::v1::{self, ModelErrorClass};

use crate::transcript::Failure;

/// No answer from the model's worker or provider.
pub const UNAVAILABLE: &str = "model.unavailable";

/// The stable name of a model's error.
pub fn of_model(class: ModelErrorClass) -> &'static str {
    match class {
        ModelErrorClass::Auth => "model.auth",
        ModelErrorClass::Billing => "model.billing",
        ModelErrorClass::RateLimit => "model.rate_limited",
        ModelErrorClass::Unavailable => UNAVAILABLE,
        ModelErrorClass::InvalidRequest => "model.invalid_request",
        ModelErrorClass::UnknownModel => "model.unknown",
        ModelErrorClass::ContextOverflow => "model.context_overflow",
        ModelErrorClass::Denied => "model.denied",
        ModelErrorClass::Unspecified => "model.failed",
    }
}

/// Whether another model may do what this one could not. What is wrong with the request itself, or forbidden, is so for
/// every model.
pub fn passes_on(class: ModelErrorClass) -> bool {
    matches!(
        class,
        ModelErrorClass::Auth
            | ModelErrorClass::Billing
            | ModelErrorClass::RateLimit
            | ModelErrorClass::Unavailable
            | ModelErrorClass::UnknownModel
    )
}

/// What those who are not the owner are told, where they can do something about it.
const FOR_OTHERS: [(&str, &str); 6] = [
    (Failure::STOPPED, "Stopped."),
    (
        Failure::TIMEOUT,
        "That took too long. Ask for less at once.",
    ),
    (
        "turn.too_long",
        "That is too much at once. Ask for a smaller step.",
    ),
    (
        "turn.rounds",
        "That is too much at once. Ask for a smaller step.",
    ),
    (
        "model.context_overflow",
        "That is too much at once. Send it in smaller parts.",
    ),
    (
        "model.refused",
        "I cannot answer that. Put the question differently.",
    ),
];
const NEUTRAL: &str = "I cannot answer right now. Please try again later.";

/// A failure as the one who asked is told of it.
pub fn told(failure: Failure, owner: bool) -> v1::Failed {
    let message = match FOR_OTHERS.iter().find(|row| row.0 == failure.code) {
        _ if owner => failure.message,
        Some((_, text)) => (*text).into(),
        None => NEUTRAL.into(),
    };
    v1::Failed {
        code: failure.code,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_gets_the_remedy_and_others_nothing_about_the_owner() {
        let failures = FOR_OTHERS.iter().map(|row| row.0);
        for code in failures.chain(["model.auth", "store.failed", "agent.unknown"]) {
            let failure = Failure::new(code, "the key of anthropic is wrong: clawdbot login");
            let owner = told(failure.clone(), true);
            assert_eq!(
                (owner.code.as_str(), &owner.message),
                (code, &failure.message)
            );
            let guest = told(failure, false);
            assert_eq!(guest.code, code);
            assert!(!guest.message.contains("anthropic") && !guest.message.is_empty());
        }
    }

    #[test]
    fn every_class_of_model_error_has_its_own_code() {
        let classes = (0..=8).filter_map(|n| ModelErrorClass::try_from(n).ok());
        let codes: std::collections::BTreeSet<_> = classes.map(of_model).collect();
        assert_eq!(codes.len(), 9);
    }
}
