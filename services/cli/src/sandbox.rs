//! `clawdbot sandbox explain`: what a session may use and which setting says so, in policy's own words. Nothing is decided
//! here.

use std::fmt::Write as _;

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::explain_operator_client::ExplainOperatorClient;
use clawdbot_proto::v1::{Class, ExplainReply, ExplainRequest, ToolLine};
use serde_json::{Value, json};

use crate::args::Sandbox;
use crate::dial::{Server, Sockets};
use crate::failure::Failure;
use crate::out::{Out, Style, table};

/// Explains.
///
/// # Errors
/// When nothing runs, or there is no such session or agent.
pub async fn run(wanted: &Sandbox, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let Sandbox::Explain {
        session,
        agent,
        sender,
    } = wanted;
    let request = ExplainRequest {
        session_key: session.clone().unwrap_or_default(),
        agent: agent.clone().unwrap_or_default(),
        sender: sender.clone().unwrap_or_default(),
    };
    let line = sockets.open(Server::Policy).await?;
    let reply = ExplainOperatorClient::new(line.edge.clone())
        .explain(request)
        .await
        .map_err(|status| Failure::call("policy", &status))?
        .into_inner();
    match out.json {
        true => out.value(&as_json(&reply))?,
        false => out.text(&as_text(out.style, &reply))?,
    }
    Ok(0)
}

fn class(reply: &ExplainReply) -> &'static str {
    match reply.class() {
        Class::Main => "main",
        Class::Guest => "guest",
        Class::Unspecified => "unknown",
    }
}

fn as_text(style: Style, reply: &ExplainReply) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {}",
            style.bold(&format!("{name:<7}")),
            sanitize_line(&value)
        );
    };
    fact(
        "session",
        format!("{} (class {})", reply.session_key, class(reply)),
    );
    let place = if reply.sandboxed { "inside" } else { "outside" };
    fact(
        "sandbox",
        format!(
            "mode {}, scope {}, workspace access {}: tools of this session run {place}",
            reply.mode, reply.scope, reply.workspace_access
        ),
    );
    text.push('\n');
    let word = |allowed: bool| if allowed { "yes" } else { "no" };
    let clean = |text: &str| sanitize_line(text).into_owned();
    let row = |line: &ToolLine| {
        [
            clean(&line.tool),
            word(line.allowed).to_owned(),
            clean(&line.source),
            clean(&line.remedy),
        ]
    };
    let rows: Vec<_> = reply.tools.iter().map(row).collect();
    text.push_str(&table(
        style,
        ["TOOL", "MAY", "BECAUSE OF", "REMEDY"],
        &rows,
    ));
    let offered = reply.tools.iter().filter(|line| line.offered);
    let offered: Vec<_> = offered.map(|line| clean(&line.tool)).collect();
    text.push_str(&match offered.as_slice() {
        [] => "\nWhich of them exist the executor says with the next message.\n".to_owned(),
        names => format!("\nOf these the executor has: {}.\n", names.join(", ")),
    });
    text
}

fn as_json(reply: &ExplainReply) -> Value {
    let tool = |line: &ToolLine| {
        json!({
            "tool": line.tool,
            "allowed": line.allowed,
            "source": line.source,
            "remedy": (!line.remedy.is_empty()).then_some(&line.remedy),
            "offered": line.offered,
        })
    };
    json!({
        "session": reply.session_key,
        "agent": reply.agent_id,
        "class": class(reply),
        "sandbox": {
            "mode": reply.mode,
            "scope": reply.scope,
            "workspaceAccess": reply.workspace_access,
            "inside": reply.sandboxed,
        },
        "tools": reply.tools.iter().map(tool).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> ExplainReply {
        let line = |tool: &str, allowed, source: &str, remedy: &str, offered| ToolLine {
            tool: tool.into(),
            allowed,
            source: source.into(),
            remedy: remedy.into(),
            offered,
        };
        ExplainReply {
            session_key: "agent:main:telegram:group:-1".into(),
            agent_id: "main".into(),
            class: Class::Guest.into(),
            mode: "non-main".into(),
            scope: "session".into(),
            workspace_access: "none".into(),
            sandboxed: true,
            tools: vec![
                line(
                    "exec\u{1b}",
                    false,
                    "tools.deny",
                    "take it out of tools.deny",
                    false,
                ),
                line(
                    "session_status",
                    true,
                    "tools.profile (messaging)",
                    "",
                    true,
                ),
            ],
        }
    }

    #[test]
    fn each_tool_is_shown_with_the_list_that_decides() {
        assert_eq!(
            as_text(Style::PLAIN, &reply()),
            "session  agent:main:telegram:group:-1 (class guest)\n\
             sandbox  mode non-main, scope session, workspace access none: tools of this session run inside\n\
             \n\
             TOOL            MAY  BECAUSE OF                 REMEDY\n\
             exec\\u{1b}      no   tools.deny                 take it out of tools.deny\n\
             session_status  yes  tools.profile (messaging)\n\
             \n\
             Of these the executor has: session_status.\n"
        );
        let mut reply = reply();
        reply.tools.truncate(1);
        assert!(as_text(Style::PLAIN, &reply).ends_with("says with the next message.\n"));
    }

    #[test]
    fn a_script_sees_the_same() {
        let json = as_json(&reply());
        assert_eq!(
            (&json["class"], &json["sandbox"]["inside"]),
            (&json!("guest"), &json!(true))
        );
        let tools = &json["tools"];
        assert_eq!(
            (&tools[0]["allowed"], &tools[0]["remedy"]),
            (&json!(false), &json!("take it out of tools.deny"))
        );
        assert_eq!(
            (&tools[1]["offered"], &tools[1]["remedy"]),
            (&json!(true), &Value::Null)
        );
    }
}
