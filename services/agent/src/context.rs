//! Whether a request fits into a model's window, and what to do when it does not: summarise the older part, shorten results
//! of tools with a visible mark, or say that it is too much. Nothing of what a person wrote is ever left out silently.

use clawdbot_proto::v1;
use prost::Message;
use prost::bytes::Bytes;

use crate::choice::Choice;
use crate::tokens;
use crate::transcript::{Cut, Failure, Window, squeeze};

/// Bytes of a request; the edge to a model worker takes 4 MiB.
const REQUEST_BYTES: usize = 3 << 20;
/// A window of this many bytes is summarised however large the model's is: older entries would leave memory next.
const HEAVY_BYTES: usize = 3 << 19;

/// What to do about a request.
#[derive(Debug)]
pub enum Plan {
    /// Send these messages, which are written already; with everything else they are about so many tokens.
    Send(Vec<Bytes>, u64),
    /// Summarise first.
    Compact(Cut),
}

/// What has happened about the size of this request so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// The provider has said of this very request that it is too much.
    pub refused: bool,
    /// It was summarised already, or that failed.
    pub settled: bool,
}

/// Tokens of what is sent beside the conversation.
pub fn overhead(system: &str, tools: &[v1::ToolSpec]) -> u64 {
    tokens::estimate(system.len()) + tokens::estimate(tools.iter().map(Message::encoded_len).sum())
}

/// Plans a request with `system` and `tools` to a model.
pub fn plan(
    window: &Window,
    choice: &Choice,
    system: &str,
    tools: &[v1::ToolSpec],
    size: Size,
) -> Result<Plan, Failure> {
    let limits = choice.limits;
    let estimate = window.tokens(overhead(system, tools));
    let full = limits.window > 0
        && (estimate > limits.window - limits.reserve || window.bytes() > HEAVY_BYTES);
    if (full || size.refused)
        && limits.compacts
        && !size.settled
        && let Some(cut) = window.cut(limits.keep)
    {
        return Ok(Plan::Compact(cut));
    }
    let beside = system.len() + tools.iter().map(Message::encoded_len).sum::<usize>();
    let mut messages = window.written(REQUEST_BYTES.saturating_sub(beside));
    if !window.has_question() {
        return Err(Failure::new(
            "turn.too_long",
            "What the tools returned is too much for one request to the model. Ask for a smaller step.",
        ));
    }
    // What the provider refused did not fit, whatever the estimate says.
    let known = match limits.window {
        0 => u64::MAX,
        window => window,
    };
    let most = match size.refused {
        true => known.min(estimate) / 4 * 3,
        false => known,
    };
    if estimate > most && !squeeze(&mut messages, estimate - most) {
        return Err(too_long(choice, estimate));
    }
    Ok(Plan::Send(messages, estimate.min(most)))
}

/// No summary and no shortening helps.
fn too_long(choice: &Choice, estimate: u64) -> Failure {
    let window = match choice.limits.window {
        0 => "less".into(),
        window => format!("{window}"),
    };
    Failure::new(
        "model.context_overflow",
        format!(
            "This message and what it needs are about {estimate} tokens; {} takes {window}. Send it in smaller parts, \
             begin a new session with /new, or choose a model with a larger window with /model.",
            choice.model
        ),
    )
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::ModelRef;

    use super::*;
    use crate::choice::Limits;
    use crate::transcript::Thread;
    use crate::transcript::tests::{append, result, thread, unmeasured, user};

    fn choice(window: u32) -> Choice {
        Choice {
            model: ModelRef::parse("a/b").unwrap(),
            facts: v1::ModelFacts::default(),
            limits: Limits::new(window, None),
        }
    }

    /// So many exchanges of about 100 tokens each way.
    fn talk(turns: usize) -> Thread {
        let mut thread = thread();
        for n in 0..turns {
            let text = format!("{n:03} {}", "x".repeat(380));
            append(
                &mut thread,
                vec![(None, user(&text)), (None, unmeasured(&text))],
            );
        }
        append(&mut thread, vec![(None, user("the question"))]);
        thread
    }

    fn planned(thread: &Thread, window: u32, size: Size) -> Result<Plan, Failure> {
        plan(&thread.window, &choice(window), "system", &[], size)
    }

    #[test]
    fn what_fits_is_sent_and_what_nears_the_end_of_the_window_is_summarised_first() {
        let thread = talk(20);
        let none = Size::default();
        for window in [0, 200_000, 8_000] {
            let Ok(Plan::Send(messages, _)) = planned(&thread, window, none) else {
                panic!("{window}")
            };
            assert_eq!(messages.len(), 41);
        }
        let Ok(Plan::Compact(cut)) = planned(&thread, 4_000, none) else {
            panic!()
        };
        assert!(
            cut.messages.len() % 2 == 0 && !cut.messages.is_empty(),
            "whole exchanges"
        );
        let settled = Size {
            settled: true,
            ..none
        };
        let sent = planned(&thread, 4_500, settled);
        assert!(
            matches!(sent, Ok(Plan::Send(messages, _)) if messages.len() == 41),
            "once for each request"
        );
    }

    #[test]
    fn what_the_provider_refuses_is_summarised_whatever_is_known_of_the_window() {
        let refused = Size {
            refused: true,
            settled: false,
        };
        for window in [0, 1_000_000] {
            let plan = planned(&talk(600), window, refused);
            assert!(matches!(plan, Ok(Plan::Compact(_))), "{window}");
        }
    }

    #[test]
    fn a_question_that_cannot_fit_is_refused_with_what_to_do() {
        let mut thread = thread();
        append(&mut thread, vec![(None, user(&"x".repeat(40_000)))]);
        let failed = planned(&thread, 4_000, Size::default()).unwrap_err();
        assert_eq!(failed.code, "model.context_overflow");
        for part in ["4000", "a/b", "/model", "/new"] {
            assert!(failed.message.contains(part), "{}", failed.message);
        }
        assert!(
            planned(&thread, 20_000, Size::default()).is_ok(),
            "positive control"
        );
    }

    #[test]
    fn results_of_tools_are_shortened_with_a_mark_before_a_turn_is_given_up() {
        let mut thread = thread();
        append(
            &mut thread,
            vec![(None, user("q")), (None, result(&"y".repeat(30_000)))],
        );
        let Ok(Plan::Send(messages, _)) = planned(&thread, 4_000, Size::default()) else {
            panic!()
        };
        let text = format!("{messages:?}");
        assert!(text.contains("left out here") && text.len() < 5_000);
        let Ok(Plan::Send(messages, _)) = planned(&thread, 10_000, Size::default()) else {
            panic!()
        };
        assert!(
            !format!("{messages:?}").contains("left out here"),
            "not without need"
        );
    }

    #[test]
    fn a_turn_that_has_pushed_its_own_question_out_of_memory_is_given_up() {
        let mut thread = thread();
        append(&mut thread, vec![(None, user("q"))]);
        for _ in 0..48 {
            append(&mut thread, vec![(None, result(&"y".repeat(64 << 10)))]);
        }
        let failed = planned(&thread, 0, Size::default()).unwrap_err();
        assert_eq!(failed.code, "turn.too_long");
    }
}
