//! The built-in guide: what answers before a model provider is connected. It is not a language model and says so: a plain
//! function from the conversation to an answer, so that the same question always has the same answer.
//! It can be told to call a tool, which makes the whole tool path visible without a model.

use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::model_message::Message;
use clawdbot_proto::v1::{self, StopReason};

/// The model's name at this worker.
pub const NAME: &str = "guide";
/// The tool behind the word "status".
const STATUS_TOOL: &str = "session_status";
/// Characters of a piece of the streamed answer, roughly.
const PIECE: usize = 160;

const INTRODUCTION: &str = "\
I am Clawdbot's built-in guide. I am not a language model: I know a few fixed answers, and I need no key and no network.

What you can do here:
- say `status`: I call the tool session_status and show you what it reports
- say `run TOOL {json}`: I call that tool for you, for instance `run session_status {}`
- say `models`: how to connect Anthropic, OpenAI or a local Ollama
- type /help for the commands of this chat";

const MODELS: &str = "\
To talk with a real model, name it in the configuration file (`clawdbot config path` tells where that is):

  { agents: { defaults: { model: \"anthropic/claude-opus-4-5\" } } }    a key from Anthropic
  { agents: { defaults: { model: \"openai/gpt-5\" } } }                 a key from OpenAI
  { agents: { defaults: { model: \"ollama/llama3\" } } }                Ollama on this machine, no key

A key is given with `clawdbot login --provider anthropic` (or `openai`), or in the environment as ANTHROPIC_API_KEY or \
OPENAI_API_KEY. Ollama is looked for on 127.0.0.1:11434; another address goes into models.providers.ollama.baseUrl. \
`clawdbot status` says what is missing.";

/// Words that are about connecting a model.
const MODEL_WORDS: [&str; 11] = [
    "model",
    "models",
    "provider",
    "providers",
    "anthropic",
    "claude",
    "openai",
    "gpt",
    "ollama",
    "login",
    "key",
];

/// The guide's answer to a conversation, as the events of its stream.
pub fn answer(messages: &[v1::ModelMessage], tools: &[v1::ToolSpec]) -> Vec<Event> {
    match reply(messages, tools) {
        Reply::Text(text) => {
            let pieces = pieces(&text).into_iter();
            let events = pieces.map(|piece| Event::Text(v1::TextDelta { text: piece.into() }));
            events.chain([stop(StopReason::End)]).collect()
        }
        Reply::Call { tool, arguments } => vec![
            Event::ToolCall(v1::ToolCall {
                // Unlike every call before it in this conversation.
                id: format!("guide_{}", messages.len()),
                name: tool,
                arguments_json: arguments,
            }),
            stop(StopReason::ToolCalls),
        ],
    }
}

enum Reply {
    Text(String),
    Call { tool: String, arguments: String },
}

fn stop(reason: StopReason) -> Event {
    Event::Stop(v1::Stop {
        reason: reason.into(),
    })
}

fn reply(messages: &[v1::ModelMessage], tools: &[v1::ToolSpec]) -> Reply {
    let results = results_at_end(messages);
    if !results.is_empty() {
        return Reply::Text(
            results
                .iter()
                .map(|result| report(result))
                .collect::<Vec<_>>()
                .join("\n\n"),
        );
    }
    let text = messages
        .iter()
        .rev()
        .find_map(|message| match &message.message {
            Some(Message::User(user)) => Some(user.text.trim()),
            _ => None,
        });
    let text = text.unwrap_or_default();
    if let Some(request) = after_run(text) {
        return run(request, tools);
    }
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let says = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    if says(&["status"]) {
        return run(STATUS_TOOL, tools);
    }
    if says(&MODEL_WORDS) {
        return Reply::Text(MODELS.into());
    }
    Reply::Text(INTRODUCTION.into())
}

/// The tool results that nothing was said about yet, oldest first.
fn results_at_end(messages: &[v1::ModelMessage]) -> Vec<&v1::ToolResult> {
    let results = messages
        .iter()
        .rev()
        .map_while(|message| match &message.message {
            Some(Message::ToolResult(result)) => Some(result),
            _ => None,
        });
    let mut results: Vec<_> = results.collect();
    results.reverse();
    results
}

fn report(result: &v1::ToolResult) -> String {
    let output = result.output.trim();
    match (result.is_error, output.is_empty()) {
        (true, _) => format!("The call of {} did not work: {output}", result.name),
        (false, true) => format!("{} ran and reported nothing.", result.name),
        (false, false) => format!("{} reports:\n\n{output}", result.name),
    }
}

/// What follows the word `run`, with or without quotes around it all.
fn after_run(text: &str) -> Option<&str> {
    let text = text.trim_matches('`').trim();
    let (word, rest) = text.split_at_checked(3)?;
    let apart = rest.is_empty() || rest.starts_with(char::is_whitespace);
    (word.eq_ignore_ascii_case("run") && apart).then(|| rest.trim())
}

fn run(request: &str, tools: &[v1::ToolSpec]) -> Reply {
    let end = request
        .find(|c: char| c.is_whitespace() || c == '{')
        .unwrap_or(request.len());
    let (tool, arguments) = request.split_at(end);
    let arguments = match arguments.trim() {
        "" => "{}",
        arguments => arguments,
    };
    if tool.is_empty() {
        return Reply::Text(format!("Write `run TOOL {{json}}`. {}", list(tools)));
    }
    if !tools.iter().any(|known| known.name == tool) {
        return Reply::Text(format!("There is no tool {tool} here. {}", list(tools)));
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(arguments) {
        Ok(object) => Reply::Call {
            tool: tool.into(),
            arguments: serde_json::Value::Object(object).to_string(),
        },
        Err(error) => Reply::Text(format!(
            "The arguments of {tool} must be one JSON object, for instance {{}}; what I got is not ({error})."
        )),
    }
}

fn list(tools: &[v1::ToolSpec]) -> String {
    if tools.is_empty() {
        return "No tool can be called at the moment.".into();
    }
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    format!("Tools: {}.", names.join(", "))
}

/// The text in pieces that end between words, so that streaming can be seen.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((at, _)) = rest.char_indices().nth(PIECE) {
        let Some(end) = rest[at..].find(char::is_whitespace) else {
            break;
        };
        let (piece, tail) = rest.split_at(at + end);
        pieces.push(piece);
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> v1::ModelMessage {
        v1::ModelMessage {
            message: Some(Message::User(v1::UserMessage { text: text.into() })),
        }
    }

    fn said(text: &str) -> v1::ModelMessage {
        let message = v1::AssistantMessage {
            text: text.into(),
            ..Default::default()
        };
        v1::ModelMessage {
            message: Some(Message::Assistant(message)),
        }
    }

    fn result(output: &str, is_error: bool) -> v1::ModelMessage {
        let result = v1::ToolResult {
            call_id: "c".into(),
            name: STATUS_TOOL.into(),
            output: output.into(),
            is_error,
        };
        v1::ModelMessage {
            message: Some(Message::ToolResult(result)),
        }
    }

    fn tools() -> Vec<v1::ToolSpec> {
        vec![v1::ToolSpec {
            name: STATUS_TOOL.into(),
            ..Default::default()
        }]
    }

    fn text(events: &[Event]) -> String {
        let texts = events.iter().filter_map(|event| match event {
            Event::Text(delta) => Some(delta.text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    fn call(events: &[Event]) -> Option<(&str, &str)> {
        events.iter().find_map(|event| match event {
            Event::ToolCall(call) => Some((call.name.as_str(), call.arguments_json.as_str())),
            _ => None,
        })
    }

    fn ask(question: &str) -> Vec<Event> {
        answer(&[user(question)], &tools())
    }

    #[test]
    fn it_says_of_itself_that_it_is_no_language_model_whatever_it_is_told() {
        for question in [
            "hello",
            "Hi!",
            "",
            "write me a poem",
            "runner",
            "running late",
            "日本語",
            "\u{202e}\0",
        ] {
            let events = ask(question);
            assert!(
                text(&events).contains("not a language model"),
                "{question:?}"
            );
            assert!(events.len() > 2, "in pieces");
            assert_eq!(events.last(), Some(&stop(StopReason::End)));
        }
    }

    #[test]
    fn it_tells_how_to_connect_a_model_and_that_this_is_not_there_yet() {
        for question in [
            "models",
            "How do I log in? I have a key",
            "Ollama?",
            "can I use CLAUDE",
        ] {
            let answer = text(&ask(question));
            for part in [
                "agents: { defaults",
                "clawdbot login --provider",
                "ollama/llama3",
                "clawdbot status",
            ] {
                assert!(answer.contains(part), "{question}: {part}");
            }
        }
    }

    #[test]
    fn status_and_run_become_tool_calls() {
        for question in [
            "status",
            "Status?",
            "show me the STATUS please",
            "run session_status",
            "RUN session_status {}",
            "`run session_status {}`",
            "run session_status{}",
        ] {
            let events = ask(question);
            assert_eq!(call(&events), Some((STATUS_TOOL, "{}")), "{question}");
            assert_eq!(events.last(), Some(&stop(StopReason::ToolCalls)));
        }
        let events = ask(r#"run session_status {"b": 1, "a": "run x"}"#);
        assert_eq!(call(&events), Some((STATUS_TOOL, r#"{"a":"run x","b":1}"#)));
    }

    #[test]
    fn a_call_that_cannot_be_made_is_explained() {
        for (question, part) in [
            ("run", "run TOOL {json}"),
            ("run no_such_tool {}", "no tool no_such_tool"),
            ("run no_such_tool {}", "session_status"),
            ("run session_status {", "one JSON object"),
            ("run session_status [1]", "one JSON object"),
            ("run session_status {} {}", "one JSON object"),
        ] {
            let events = ask(question);
            assert_eq!(call(&events), None, "{question}");
            assert!(
                text(&events).contains(part),
                "{question}: {}",
                text(&events)
            );
        }
        assert!(text(&answer(&[user("status")], &[])).contains("No tool can be called"));
        let deep = format!("run session_status {{\"a\":{}", "[".repeat(100_000));
        assert!(
            text(&ask(&deep)).contains("one JSON object"),
            "depth is bounded"
        );
    }

    #[test]
    fn results_are_put_into_words_and_the_next_question_is_a_new_one() {
        let asked = [user("status"), said(""), result("all well", false)];
        assert_eq!(
            text(&answer(&asked, &tools())),
            "session_status reports:\n\nall well"
        );
        let failed = [user("status"), said(""), result("denied", true)];
        assert!(text(&answer(&failed, &tools())).contains("did not work: denied"));
        let two = [user("x"), said(""), result("one", false), result("", false)];
        assert!(
            text(&answer(&two, &tools()))
                .contains("one\n\nsession_status ran and reported nothing.")
        );
        let mut later = asked.to_vec();
        later.extend([said("session_status reports: all well"), user("hello")]);
        assert!(text(&answer(&later, &tools())).contains("not a language model"));
    }

    #[test]
    fn each_call_in_a_conversation_has_its_own_id() {
        let id = |messages: &[v1::ModelMessage]| match &answer(messages, &tools())[0] {
            Event::ToolCall(call) => call.id.clone(),
            other => panic!("{other:?}"),
        };
        let first = [user("status")];
        let later = [
            user("status"),
            said(""),
            result("x", false),
            said("x"),
            user("status"),
        ];
        assert_ne!(id(&first), id(&later));
        assert_eq!(id(&first), id(&first));
    }

    #[test]
    fn the_pieces_are_the_text() {
        for text in ["", "short", MODELS, &"x".repeat(1000), &"ü ".repeat(1000)] {
            assert_eq!(pieces(text).concat(), text);
        }
        assert!(pieces(MODELS).len() > 3);
    }
}
