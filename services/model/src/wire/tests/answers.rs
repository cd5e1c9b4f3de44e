//! Answers become events.

use clawdbot_fakes::provider::{End, Format, Reply};
use clawdbot_proto::v1::StopReason;
use clawdbot_proto::v1::generate_event::Event;
use serde_json::json;

use super::*;
use crate::fault::Kind;

#[test]
fn the_table_of_protocols_is_in_the_order_of_its_names() {
    for (api, _) in FORMATS {
        assert_eq!(Api::parse(api.name()), Some(api));
    }
    assert_eq!(Api::parse("google-generative-ai"), None);
}

#[test]
fn the_same_content_gives_the_same_events_in_every_protocol() {
    let replies = [
        rich(),
        Reply::text("Hello there, how are you?"),
        Reply {
            end: End::Length,
            ..Reply::text("cut off in the")
        },
        Reply::call("call_9", "status", "{\"a\":{\"b\":[]}}"),
    ];
    for reply in replies {
        let mut all = FORMATS.map(|(api, format)| {
            let stream = format.records(&reply, "m").concat();
            (api, common(whole(api, &stream)))
        });
        let (_, first) = std::mem::replace(&mut all[0], (Api::Anthropic, Vec::new()));
        assert!(matches!(first.last(), Some(Event::Stop(_))));
        for (api, events) in &all[1..] {
            assert_eq!(*events, first, "{}", api.name());
        }
    }
}

#[test]
fn text_that_nobody_has_taken_yet_is_one_event_up_to_a_bound() {
    for (api, format) in FORMATS {
        let records = format.records(&Reply::text("one two three four"), "m");
        let texts = |events: VecDeque<Event>| {
            let texts = events.into_iter().filter_map(|event| match event {
                Event::Text(delta) => Some(delta.text),
                _ => None,
            });
            texts.collect::<Vec<_>>()
        };
        let joined = texts(whole(api, &records.concat()));
        assert_eq!(joined, ["one two three four"], "{}", api.name());
        // Taken one by one they stay apart.
        let mut decoder = Decoder::new(api, String::new(), "r1");
        let taken = records.iter().flat_map(|record| {
            let mut events = VecDeque::new();
            decoder.feed(record.as_bytes(), &mut events).unwrap();
            texts(events)
        });
        assert_eq!(
            taken.collect::<Vec<_>>(),
            ["one ", "two ", "three ", "four"]
        );
        let long = "words and ".repeat(20_000);
        let stream = format.records(&Reply::text(&long), "m").concat();
        let pieces = texts(whole(api, &stream));
        assert!(pieces.len() == 4 && pieces.iter().all(|piece| piece.len() <= 64 << 10));
        assert!(pieces.concat() == long);
    }
}

#[test]
fn thinking_is_told_apart_from_the_answer_and_a_break_in_it_is_a_break() {
    for (api, format) in FORMATS {
        let mut reply = rich();
        reply.parts.truncate(1);
        let records = format.records(&reply, "m");
        let thoughts = |events: &VecDeque<Event>| {
            events
                .iter()
                .filter(|event| matches!(event, Event::Thinking(_)))
                .count()
        };
        let all = whole(api, &records.concat());
        assert!(
            matches!(all.front(), Some(Event::Thinking(_))) && thoughts(&all) == 1,
            "{}: {all:?}",
            api.name()
        );
        let (events, end) = decode(api, &[records[..records.len() / 2].concat().as_bytes()]);
        assert_eq!(
            thoughts(&events),
            events.len(),
            "{}: {events:?}",
            api.name()
        );
        assert_eq!(end.unwrap_err().kind, Kind::Truncated, "{}", api.name());
    }
}

#[test]
fn events_do_not_depend_on_where_the_bytes_are_cut() {
    for (api, format) in FORMATS {
        let stream = format.records(&small(), "m").concat();
        let expected = whole(api, &stream);
        let bytes = stream.as_bytes();
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            let (events, end) = decode(api, &[before, after]);
            assert_eq!(
                (&events, end),
                (&expected, Ok(())),
                "{} at {cut}",
                api.name()
            );
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(api, &single), (expected, Ok(())), "{}", api.name());
    }
}

#[test]
fn an_answer_that_stops_anywhere_before_its_end_is_an_error_and_has_no_stop() {
    for (api, format) in FORMATS {
        let records = format.records(&small(), "m");
        // Chat completions say that they are complete before they say what they cost.
        let complete = match api {
            Api::Chat => 2,
            _ => 0,
        };
        let stream = records[..records.len() - complete].concat();
        let last = records[records.len() - complete - 1].len();
        for cut in 0..=stream.len() - last {
            let (events, end) = decode(api, &[&stream.as_bytes()[..cut]]);
            let fault = end.unwrap_err();
            assert!(
                matches!(fault.kind, Kind::Truncated | Kind::Malformed),
                "{} at {cut}: {fault:?}",
                api.name()
            );
            assert!(!events.iter().any(|event| matches!(event, Event::Stop(_))));
        }
    }
}

#[test]
fn unknown_records_pings_and_comments_change_nothing() {
    let plain = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let noisy = format!(
        ": OPENROUTER PROCESSING\n\n{}",
        plain.replace("\n\n", "\n\n: keep\n\ndata: {\"object\":\"x\"}\n\n")
    );
    assert_eq!(whole(Api::Chat, plain), whole(Api::Chat, &noisy));
    for (api, format) in FORMATS {
        if api == Api::Chat {
            continue;
        }
        let records = format.records(&rich(), "m");
        let odd = match api {
            Api::Ollama => "\n{\"moon\":1}\n".to_owned(),
            _ => "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: moon\ndata: {\"type\":\"moon\",\"delta\":[3]}\n\n:\n\n".to_owned(),
        };
        let noisy: String = records.iter().map(|r| format!("{odd}{r}")).collect();
        assert_eq!(
            whole(api, &noisy),
            whole(api, &records.concat()),
            "{}",
            api.name()
        );
    }
}

#[test]
fn broken_arguments_go_on_as_they_are_and_missing_ones_become_an_object() {
    for (api, format) in FORMATS {
        let arguments = |text: &str| {
            let stream = format.records(&Reply::call("c", "t", text), "m").concat();
            match whole(api, &stream).pop_front() {
                Some(Event::ToolCall(call)) => call.arguments_json,
                other => panic!("{other:?}"),
            }
        };
        let broken = arguments("{\"city\": \"Par");
        assert!(
            json::object(&broken).is_none() && broken.contains("Par"),
            "{broken}"
        );
        if api != Api::Ollama {
            assert_eq!(arguments(""), "{}");
        }
    }
}

#[test]
fn nameless_calls_get_names_that_differ_within_an_answer_and_between_requests() {
    let stream = Format::Ollama.records(&rich(), "m").concat();
    let ids = |request: &str| {
        let mut decoder = Decoder::new(Api::Ollama, String::new(), request);
        let mut events = VecDeque::new();
        decoder.feed(stream.as_bytes(), &mut events).unwrap();
        let ids = events.into_iter().filter_map(|event| match event {
            Event::ToolCall(call) => Some(call.id),
            _ => None,
        });
        ids.collect::<Vec<_>>()
    };
    let (first, second) = (ids("r1"), ids("r2"));
    assert!(first.len() == 2 && first[0] != first[1] && first != second);
    assert_eq!(ids("r1"), first);
    assert!(first.iter().all(|id| history::call_id(id) == *id));
}

#[test]
fn an_error_record_is_the_provider_s_error_and_what_came_before_it_stays() {
    for (api, record) in [
        (
            Api::Anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"o\"}}\n\n",
        ),
        (
            Api::Chat,
            "data: {\"error\":{\"code\":529,\"message\":\"o\"},\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
        ),
        (
            Api::Responses,
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"overloaded_error\",\"message\":\"o\"}}}\n\n",
        ),
        (Api::Ollama, "{\"error\":\"the model is overloaded\"}\n"),
    ] {
        let format = FORMATS.iter().find(|(known, _)| *known == api).unwrap().1;
        let mut records = format.records(&Reply::text("one two three four five six"), "m");
        records.truncate(records.len() / 2 + 1);
        records.push(record.into());
        let (events, end) = decode(api, &[records.concat().as_bytes()]);
        assert_eq!(end.unwrap_err().kind, Kind::Overloaded, "{}", api.name());
        assert!(!events.is_empty());
    }
}

#[test]
fn every_reason_to_stop_has_its_neutral_name() {
    let anthropic = |reason: &str| {
        format!(
            "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{reason}\"}}}}\n\ndata: {{\"type\":\"message_stop\"}}\n\n"
        )
    };
    let chat = |reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\ndata: [DONE]\n\n"
        )
    };
    let responses = |reason: &str| {
        format!(
            "data: {{\"type\":\"response.incomplete\",\"response\":{{\"incomplete_details\":{{\"reason\":\"{reason}\"}}}}}}\n\n"
        )
    };
    let ollama = |reason: &str| format!("{{\"done\":true,\"done_reason\":\"{reason}\"}}\n");
    for (api, stream, expected) in [
        (Api::Anthropic, anthropic("end_turn"), StopReason::End),
        (Api::Anthropic, anthropic("stop_sequence"), StopReason::End),
        (Api::Anthropic, anthropic("pause_turn"), StopReason::End),
        (Api::Anthropic, anthropic("max_tokens"), StopReason::Length),
        (
            Api::Anthropic,
            anthropic("model_context_window_exceeded"),
            StopReason::Length,
        ),
        (Api::Anthropic, anthropic("refusal"), StopReason::Refused),
        (Api::Anthropic, anthropic("tool_use"), StopReason::ToolCalls),
        (Api::Chat, chat("stop"), StopReason::End),
        (Api::Chat, chat("length"), StopReason::Length),
        (Api::Chat, chat("content_filter"), StopReason::Refused),
        (Api::Chat, chat("tool_calls"), StopReason::ToolCalls),
        (
            Api::Responses,
            responses("max_output_tokens"),
            StopReason::Length,
        ),
        (
            Api::Responses,
            responses("content_filter"),
            StopReason::Refused,
        ),
        (Api::Ollama, ollama("stop"), StopReason::End),
        (Api::Ollama, ollama("length"), StopReason::Length),
    ] {
        match whole(api, &stream).pop_back() {
            Some(Event::Stop(stop)) => assert_eq!(stop.reason(), expected, "{stream}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn calls_that_all_have_the_same_index_are_told_apart_by_name_and_id() {
    let part = |id: &str, name: &str, arguments: &str| {
        json!({"choices": [{"delta": {"tool_calls": [
            {"index": 0, "id": id, "function": {"name": name, "arguments": arguments}}
        ]}}]})
    };
    let end = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]});
    let called = |parts: &[Value]| {
        let records = parts.iter().chain([&end]).map(|p| format!("data: {p}\n\n"));
        let calls = whole(Api::Chat, &records.collect::<String>());
        let calls = calls.into_iter().filter_map(|event| match event {
            Event::ToolCall(call) => Some((call.id, call.name, call.arguments_json)),
            _ => None,
        });
        calls.collect::<Vec<_>>()
    };
    let call = |id: &str, name: &str, arguments: &str| {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    };
    let two = [
        part("x", "a", "{\"n\":1}"),
        part("y", "a", "{"),
        part("", "", "}"),
    ];
    assert_eq!(
        called(&two),
        [call("x", "a", "{\"n\":1}"), call("y", "a", "{}")]
    );
    // The id or a new one in every piece, but the name only in the first: one call.
    for again in ["x", "z"] {
        let one = [part("x", "a", "{"), part(again, "", "}")];
        assert_eq!(called(&one), [call("x", "a", "{}")]);
    }
    let one = [part("x", "a", "{"), part("x", "a", "}")];
    assert_eq!(called(&one), [call("x", "a", "{}")]);
}

#[test]
fn calls_without_index_are_told_apart_by_id_or_name() {
    let part = |part: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{part}]}}}}]}}\n\n")
    };
    let end =
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    for id in ["", "\"id\":\"x1\","] {
        let first = format!("{{{id}\"function\":{{\"name\":\"a\",\"arguments\":\"{{\"}}}}");
        let rest = "{\"function\":{\"arguments\":\"}\"}}";
        let second = "{\"function\":{\"name\":\"b\",\"arguments\":\"{}\"}}";
        let stream = [part(&first), part(rest), part(second), end.into()].concat();
        let calls: Vec<_> = whole(Api::Chat, &stream)
            .into_iter()
            .filter_map(|event| match event {
                Event::ToolCall(call) => Some((call.name, call.arguments_json)),
                _ => None,
            })
            .collect();
        let call = |name: &str| (name.to_owned(), "{}".to_owned());
        assert_eq!(calls, [call("a"), call("b")], "{id}");
    }
}
