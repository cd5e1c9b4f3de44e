//! What can be typed: commands, flags and their help. Only commands that work are here; everything else is refused
//! by name, since a command that does nothing is worse than one that is missing.

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use clawdbot_identity::{AgentId, InstanceName, SessionKey};

/// A personal assistant on your own machine, built from small confined processes.
#[derive(Debug, Parser)]
#[command(
    name = "clawdbot",
    version,
    disable_help_subcommand = true,
    after_help = crate::steps::below_help()
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command accepts.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub config: Option<PathBuf>,
    /// Directory that holds sessions, queues and sockets
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub state_dir: Option<PathBuf>,
    /// Print JSON on standard output; failures as {"error":{"code","message","remedy"}}
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// No colours (also: NO_COLOR=1)
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub no_color: bool,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Everywhere")]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything here, in the foreground
    Up(Up),
    /// Talk to the assistant in this terminal
    Chat(Chat),
    /// Show what runs, how it is confined, the last conversations and the last errors
    Status,
    /// Show the processes, and beneath each whom it may call
    Topology,
    /// Print a one-time link that signs a browser in
    Open,
    /// Print the gateway token
    Token {
        /// Make a new token; whoever signed in with the old one is signed out
        #[arg(long)]
        rotate: bool,
    },
    /// Look at the configuration and change it
    #[command(subcommand, arg_required_else_help = true)]
    Config(Config),
    /// Check the configuration, the files and what runs for risks (also: security audit)
    Doctor(Doctor),
    /// Another name for doctor
    #[command(subcommand, hide = true, arg_required_else_help = true)]
    Security(Security),
    /// Store a key or token, asked for without showing it, and have it tried
    ///
    /// The key or token is typed, or comes from standard input if that is no terminal. Exit status 0: it works; 1: it is
    /// stored, and it does not work or nobody could try it.
    Login(Login),
    /// Forget a key or token that login stored
    Logout(Logout),
    /// Look at the stored credentials, never at their values
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Another key for the vault (rekey) and its recovery (recover) are not there yet."
    )]
    Credentials(Credentials),
    /// See who asks to write to the assistant, let them in or put them out
    #[command(subcommand, arg_required_else_help = true)]
    Pairing(Pairing),
    /// See which calls wait for your word, and give it
    #[command(subcommand, arg_required_else_help = true)]
    Approvals(Approvals),
    /// Look at what was decided, and whether the record of it is as it was written
    #[command(subcommand, arg_required_else_help = true)]
    Audit(Audit),
    /// See which tools a conversation may use, and which setting says so
    #[command(subcommand, arg_required_else_help = true)]
    Sandbox(Sandbox),
    /// List the conversations
    Sessions,
    /// Read the log
    Logs(Logs),
    /// Install, start and stop the assistant as a service
    #[command(subcommand, arg_required_else_help = true)]
    Service(Service),
    /// Make the users and sockets that the configuration needs (services of the machine only; needs root)
    ///
    /// `config set` and `service restart` do it on the way; after an edit by hand it is needed for another port or address
    /// of the front door, and for providers that the package does not know. Whatever else changes is taken over by itself.
    Apply {
        /// Only say what there is to do; exit status 1 when there is something
        #[arg(long)]
        check: bool,
    },
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// `clawdbot up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Port of the front door instead of gateway.port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Started by root: the user to become
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Open a chat as soon as everything is ready; leaving it stops everything
    #[arg(long)]
    pub chat: bool,
}

/// `clawdbot chat`.
#[derive(Debug, Clone, Args)]
pub struct Chat {
    /// Conversation to talk in: main, or a name of your choice
    #[arg(long, value_name = "NAME", default_value = "main", value_parser = session_name)]
    pub session: String,
    /// Send this one message, print the answer and leave; "-" reads it from standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub message: Option<String>,
}

/// `clawdbot config …`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check the file: exit status 0 when it loads, 78 when it does not
    Validate,
    /// Print the value in force, with defaults; secrets are not shown
    Get {
        /// For example gateway.port; everything when left out
        path: Option<String>,
    },
    /// Change settings in the file, keeping its comments, order and style
    ///
    /// Nothing is written that adds a mistake to the file; settings that need each other are given together. The old
    /// file stays beside it as NAME.bak.N.
    Set {
        /// A path, for example gateway.port, agents.list[0].id or models.providers["x.y"].api, then its value in JSON5,
        /// for example 4000, true, ["a"] or {id: "a"}; a text needs no quotes where it can be nothing else
        #[arg(value_names = ["PATH", "VALUE"], num_args = 2.., required = true, allow_negative_numbers = true)]
        settings: Vec<String>,
        /// The values are texts, whatever they look like
        #[arg(long)]
        string: bool,
    },
    /// Take one setting out of the file, so that its default holds
    Unset {
        /// For example gateway.port
        path: String,
    },
    /// Print the JSON Schema of the file, for editors
    Schema {
        /// The reference of all settings instead, in Markdown
        #[arg(long)]
        markdown: bool,
    },
    /// Print where the file is expected
    Path,
}

/// `clawdbot doctor`.
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    /// Exit with status 1 when there are warnings
    #[arg(long)]
    pub strict: bool,
    /// End what can be ended without a choice of yours, or only this finding; shows first what would change
    #[arg(long, value_name = "ID", num_args = 0..=1)]
    pub fix: Option<Option<String>>,
    /// With --fix: do it without asking
    #[arg(long, requires = "fix")]
    pub yes: bool,
    /// Try to break out of each process, by a probe that is started and confined as it is, and show what came of it (needs
    /// root for the services of the machine)
    #[arg(long)]
    pub probe: bool,
    /// Also try the front door, and ask what each model and channel found when it tried its key or token last
    #[arg(long)]
    pub deep: bool,
}

/// `clawdbot security …`.
#[derive(Debug, Subcommand)]
pub enum Security {
    /// The same as doctor
    Audit(Doctor),
}

/// Whose key or token it is.
#[derive(Debug, Clone, Args)]
#[group(id = "whose", skip)]
pub struct Whose {
    /// Model provider, for example anthropic
    #[arg(long, value_name = "NAME", value_parser = provider_name, required_unless_present = "channel", conflicts_with = "channel")]
    pub provider: Option<String>,
    /// Chat channel, for example telegram
    #[arg(long, value_name = "NAME", value_parser = provider_name)]
    pub channel: Option<String>,
    /// Name it, to have more than one; for a channel the account
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: String,
}

/// `clawdbot login`.
#[derive(Debug, Clone, Args)]
pub struct Login {
    /// Whose it is.
    #[command(flatten)]
    pub whose: Whose,
    /// Where the key of a new vault is kept: the keyring, or a file where there is none, unless chosen
    #[arg(long, value_name = "WHERE")]
    pub key_source: Option<KeySource>,
    /// Do not have it tried
    #[arg(long)]
    pub no_check: bool,
}

/// `clawdbot logout`.
#[derive(Debug, Clone, Args)]
pub struct Logout {
    /// Whose it is.
    #[command(flatten)]
    pub whose: Whose,
}

/// Where a vault's key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeySource {
    /// In the keyring of your desktop.
    Keyring,
    /// In a private file, which protects less.
    File,
}

impl KeySource {
    /// As the broker knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::File => "file",
        }
    }
}

/// `clawdbot credentials …`.
#[derive(Debug, Subcommand)]
pub enum Credentials {
    /// List which credentials are known, where from, and who may use them
    List,
}

/// `clawdbot pairing …`.
#[derive(Debug, Subcommand)]
pub enum Pairing {
    /// List who waits for approval and who was approved
    List {
        /// Only on this channel, for example telegram
        channel: Option<String>,
        /// Only who was approved
        #[arg(long)]
        approved: bool,
    },
    /// Let the sender in who got this code
    Approve {
        /// Which request.
        #[command(flatten)]
        request: PairingRequest,
        /// Tell the sender
        #[arg(long)]
        notify: bool,
        /// Let the sender in as the owner, where the configuration makes him that
        #[arg(long)]
        owner: bool,
    },
    /// Drop the request of the sender who got this code
    Reject {
        /// Which request.
        #[command(flatten)]
        request: PairingRequest,
    },
    /// Take an approval back
    Revoke {
        /// For example telegram
        channel: String,
        /// The sender's id, as `clawdbot pairing list` shows it
        sender: String,
        /// Account of the channel
        #[arg(long, value_name = "NAME", default_value = "default")]
        account: String,
    },
}

/// A request: `telegram ABCD2345`, or `ABCD2345 --channel telegram`.
#[derive(Debug, Clone, Args)]
pub struct PairingRequest {
    /// Channel and code, for example: telegram ABCD2345
    #[arg(value_name = "CHANNEL CODE", num_args = 1..=2, required = true)]
    words: Vec<String>,
    /// The channel; the code stands alone then
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
}

impl PairingRequest {
    /// Channel and code.
    ///
    /// # Errors
    /// What is missing or too much.
    pub fn parts(&self) -> Result<(&str, &str), &'static str> {
        match (self.words.as_slice(), self.channel.as_deref()) {
            ([channel, code], None) => Ok((channel, code)),
            ([code], Some(channel)) => Ok((channel, code)),
            ([_], None) => Err("the channel is missing, for instance: telegram ABCD2345"),
            _ => Err("with --channel only the code stands there"),
        }
    }
}

/// `clawdbot sandbox …`.
#[derive(Debug, Subcommand)]
pub enum Sandbox {
    /// Print the sandbox of a session and each tool with the list that allows or forbids it
    Explain {
        /// Session key as `clawdbot sessions` shows it; the agent's main session when left out
        #[arg(long, value_name = "KEY", value_parser = session_key)]
        session: Option<String>,
        /// Agent whose main session it is about; the default agent when left out
        #[arg(long, value_name = "ID", conflicts_with = "session", value_parser = agent_id)]
        agent: Option<String>,
        /// For messages of this sender, by the channel's id
        #[arg(long, value_name = "ID")]
        sender: Option<String>,
    },
}

/// `clawdbot approvals …`.
#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// List the calls that wait
    List,
    /// Allow a call, this once
    Approve {
        /// Its id, as the question and the list show it
        id: String,
    },
    /// Refuse a call
    Deny {
        /// Its id, as the question and the list show it
        id: String,
    },
}

/// `clawdbot audit …`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Print what was decided, oldest first
    Show(Show),
    /// Check that no record was changed, removed, moved or cut off: exit status 0 when so, 1 when not
    ///
    /// Needs no running assistant. What the log alone cannot show, that all of it was made anew, the first key shows
    /// (clawdbot audit key), and the checkpoints in the log of the processes.
    Verify(Verify),
    /// Show the first key of the log's seal, once; afterwards only you have it
    Key,
}

/// `clawdbot audit show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// Only records since then: 10m, 2h, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what this process asked for, for example gateway, or agent for both agents
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
    /// Only what came of this message: the trace of a record or of a line of the log
    #[arg(long, value_name = "ID")]
    pub trace: Option<String>,
}

/// `clawdbot audit verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// File with the first key, "-" for standard input
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Log of the processes with copies of the checkpoints, instead of gateway.log or the journal
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Also end the alarm of the running assistant about damage that a start found; that, too, is on record
    #[arg(long)]
    pub accept: bool,
}

/// `clawdbot service …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Service {
    /// Have it started with the machine, or without the package with your user's session
    Install,
    /// Stop it and do not start it any more; the configuration and all state stay
    Uninstall,
    /// Check the configuration and start what does not run
    Start,
    /// Stop everything but the way to read the log
    Stop,
    /// Check the configuration and start everything anew
    Restart,
    /// Show the units, what they say and since when
    Status,
}

/// `clawdbot logs`.
#[derive(Debug, Clone, Args)]
pub struct Logs {
    /// Go on with new lines as they are written
    #[arg(long, short)]
    pub follow: bool,
    /// Only lines of this process, for example gateway, or agent for both agents
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only lines since then: 10m, 2h, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines at least this grave
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<Level>,
    /// Only lines that contain this text
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// The last so many lines
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// How grave a log line is; the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may need attention.
    Warn,
    /// Something happened.
    Info,
    /// For finding mistakes.
    Debug,
    /// Everything.
    Trace,
}

fn session_key(text: &str) -> Result<String, String> {
    SessionKey::parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn agent_id(text: &str) -> Result<String, String> {
    AgentId::parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn session_name(text: &str) -> Result<String, String> {
    SessionKey::operator(&AgentId::main(), text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn provider_name(text: &str) -> Result<String, String> {
    InstanceName::parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// The whole command line, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_has_no_contradiction() {
        command().debug_assert();
    }

    #[test]
    fn every_command_accepts_the_flags_of_all() {
        let flags = "--config c --state-dir s --json --no-color -v";
        for line in [
            "up",
            "chat",
            "status",
            "topology",
            "open",
            "token",
            "config validate",
            "config get x",
            "config set x 1 --string",
            "config unset x",
            "config schema --markdown",
            "config path",
            "doctor",
            "security audit",
            "login --provider anthropic",
            "logout --channel telegram --profile work",
            "credentials list",
            "pairing list",
            "pairing list telegram --approved",
            "pairing approve ABCD2345 --channel telegram --notify",
            "sandbox explain",
            "approvals list",
            "approvals approve ABCD2345",
            "approvals deny ABCD2345",
            "pairing approve telegram ABCD2345",
            "pairing reject telegram ABCD2345",
            "pairing revoke telegram 42 --account work",
            "audit show --role agent --since 10m --trace 0011223344556677",
            "audit verify --key k --log l --accept",
            "audit key",
            "sessions",
            "logs",
            "service status",
            "apply --check",
            "completions bash",
        ] {
            for line in [
                format!("clawdbot {line} {flags}"),
                format!("clawdbot {flags} {line}"),
            ] {
                let global = parse(&line)
                    .unwrap_or_else(|error| panic!("{line}: {error}"))
                    .global;
                assert_eq!(global.state_dir, Some("s".into()), "{line}");
                assert!(
                    global.json && global.no_color && global.verbose == 1,
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn values_are_checked_where_they_are_typed() {
        for right in [
            "up --port 1",
            "up --port 65535",
            "chat --session work-2",
            "chat --message -what?",
            "config set a -1001",
            "config set a -- -x",
            "logs --limit 1 --level warn",
            "login --provider my-llm --key-source file --no-check",
            "login --channel telegram --profile work",
        ] {
            assert!(parse(&format!("clawdbot {right}")).is_ok(), "{right}");
        }
        for wrong in [
            "up --port 0",
            "up --port 65536",
            "up --port x",
            "chat --session Work",
            "chat --session a:b",
            "logs --limit 0",
            "logs --level loud",
            "login",
            "login anthropic",
            "login --provider anthropic --channel telegram",
            "login --provider Anthropic",
            "login --provider a/b",
            "login --provider anthropic --key sk-x",
            "login --provider anthropic --key-source cloud",
            "logout",
            "logout --profile work",
            "completions cmd",
            "config set a",
            "config unset",
            "status more",
            "pairing approve",
            "pairing approve telegram ABCD2345 more",
            "pairing",
            "approvals",
            "sandbox",
            "sandbox explain --session main",
            "sandbox explain --agent Main",
            "sandbox explain --agent main --session agent:main:main",
            "approvals approve",
            "service",
            "service reload",
            "service start gateway",
            "apply now",
        ] {
            assert!(parse(&format!("clawdbot {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_is_named_in_either_order() {
        let parts = |line: &str| {
            let cli = parse(&format!("clawdbot pairing approve {line}")).unwrap();
            let Command::Pairing(Pairing::Approve {
                request, notify, ..
            }) = cli.command
            else {
                panic!("{line}")
            };
            let parts = request
                .parts()
                .map(|(channel, code)| format!("{channel} {code}"));
            (parts.unwrap_or_else(str::to_owned), notify)
        };
        let expected = ("telegram ABCD2345".to_owned(), false);
        assert_eq!(parts("telegram ABCD2345"), expected);
        assert_eq!(parts("ABCD2345 --channel telegram"), expected);
        assert!(parts("--notify telegram ABCD2345").1);
        for wrong in ["ABCD2345", "telegram ABCD2345 --channel telegram"] {
            assert!(
                parts(wrong).0.contains("the c") || parts(wrong).0.contains("only"),
                "{wrong}"
            );
        }
    }
}
