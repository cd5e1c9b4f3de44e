//! The page of all checks, from the tables that do the checking.

use std::fmt::Write as _;

use clawdbot_config::{Cure, Severity, about_rules};

use super::check;

/// Checks of the original that have no row here, and why.
pub const NOT_HERE: &[(&str, &str)] = &[
    (
        "fs.config_include.*",
        "files that include others are refused",
    ),
    (
        "gateway.trusted_proxies_missing",
        "without trusted proxies no forwarded address is believed, which is the safe state and no finding",
    ),
    (
        "gateway.control_ui.insecure_auth",
        "there is no such switch: the web chat always needs the log-in",
    ),
    (
        "gateway.control_ui.device_auth_disabled",
        "there is no such switch",
    ),
    (
        "gateway.control_ui.allowed_origins_required",
        "without a list only the gateway's own origin may connect",
    ),
    (
        "gateway.http.no_auth",
        "there is no way to switch the log-in off",
    ),
    (
        "gateway.http.session_key_override_enabled",
        "a caller never chooses a session of somebody else",
    ),
    (
        "gateway.tools_invoke_http.dangerous_allow",
        "no list widens what the HTTP interface may call; that it is on is `gateway.tools_invoke_http.enabled`",
    ),
    (
        "gateway.real_ip_fallback_enabled",
        "there is no such switch",
    ),
    ("gateway.trusted_proxy_*", "a proxy logs nobody in"),
    ("browser.control_invalid_config", "there is no browser tool"),
    ("browser.remote_cdp_http", "there is no browser tool"),
    (
        "hooks.request_session_key_enabled",
        "a web hook never chooses its session",
    ),
    (
        "hooks.allowed_agent_ids_unrestricted",
        "a web hook reaches only the agents of its mappings",
    ),
    ("plugins.extensions_no_allowlist", "there are no plugins"),
    ("skills.workspace.symlink_escape", "there are no skills"),
    (
        "tools.exec.auto_allow_skills_enabled",
        "there are no skills",
    ),
    (
        "tools.exec.allowlist_interpreter_without_strict_inline_eval",
        "the file holds no list of allowed commands; interpreters that run without a question are `tools.exec.safe_bins_broad_behavior`",
    ),
    (
        "sandbox.dangerous_network_mode",
        "the value is refused by its type",
    ),
    (
        "channels.<channel>.warning.<n>",
        "every warning about a channel has an id of its own",
    ),
    (
        "channels.discord.commands.native.unrestricted",
        "commands for everybody are refused: `commands.no_access_groups`",
    ),
    (
        "channels.discord.commands.native.no_allowlists",
        "Discord's own commands are not offered",
    ),
    ("channels.slack.commands.slash.*", "Slack is not supported"),
];

/// The page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Checks\n\n\
         What `clawdbot doctor` looks at. Ids are stable; where the original has the check, the id is the original's. \
         A check that `--fix` can end says so: it writes one value, with all comments kept and a numbered backup, or takes \
         rights on a file away; it never deletes a setting, never opens anything up and follows no symbolic link. Without \
         `--yes` it shows what it would do and asks, or does nothing where nobody can be asked.\n\n\
         A printed command keeps everything else: a list keeps its other entries, and what no single value ends is left to \
         your editor. Of several mistakes each can be corrected by itself, in any order. Words in capitals are to be filled \
         in. What a change takes out of the file is still in the backup, which only its owner can read: a secret is out of \
         reach when the backup is removed, too.\n\n\
         Exit status: 0, 1 for warnings with `--strict` or a fix that did not succeed, 2 for something critical. \
         `--json` prints what [doctor.schema.json](doctor.schema.json) describes.\n\n\
         ## Files, environment, people, models, version, what runs\n\n\
         | Id | Severity | What | Why | Command | `--fix` |\n|---|---|---|---|---|---|\n",
    );
    // Writing to a String cannot fail.
    for check in check::all() {
        let row = [check.title, check.why].map(cell).join(" | ");
        let fixes = if check.fixes { "yes" } else { "no" };
        let severity = severity(check.severity);
        let _ = writeln!(
            page,
            "| `{}` | {severity} | {row} | `{}` | {fixes} |",
            check.id,
            cell(check.command)
        );
    }
    page.push_str(
        "\n## The configuration\n\n\
         What refuses the file is critical as long as it does. `PATH` stands for the setting that was found.\n\n\
         | Id | Effect | About | What | Why | Command | `--fix` |\n|---|---|---|---|---|---|---|\n",
    );
    for rule in about_rules() {
        let row = [rule.title, rule.why].map(cell).join(" | ");
        let fixes = if matches!(rule.cure, Cure::Fix(_)) {
            "yes"
        } else {
            "no"
        };
        let path = match rule.cure {
            // What stands beside it has no name without it.
            Cure::Beside(..) => rule.key,
            _ => "PATH",
        };
        let command = rule.cure.command(path, "");
        let _ = writeln!(
            page,
            "| `{}` | {} | `{}` | {row} | `{}` | {fixes} |",
            rule.id,
            rule.effect,
            rule.key,
            cell(&command)
        );
    }
    page.push_str("\n## Checks of the original that are not here\n\n| Id | Why |\n|---|---|\n");
    for (id, why) in NOT_HERE {
        let _ = writeln!(page, "| `{id}` | {why} |");
    }
    page
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warn => "warning",
        Severity::Info => "note",
    }
}

/// Text inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
