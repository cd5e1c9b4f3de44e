//! From the arguments to the exit status. Nothing happens before the arguments are understood, and a command that
//! needs no runtime gets none.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ColorChoice, FromArgMatches};

use crate::args::{Cli, Command, Config, Credentials, Security};
use crate::chat::{Chat, until_ended};
use crate::dial::Sockets;
use crate::failure::{EXIT_USAGE, Failure};
use crate::out::{Out, compact};
use crate::place::{Place, installed};
use crate::{
    access, apply, approvals, audit, check, config, credentials, doctor, login, logs, pairing,
    remote, rights, sandbox, service, sessions, status, steps, topology, up,
};

/// The whole program.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let mut command = crate::command();
    if installed() {
        command = command.after_help(steps::below_help_here());
    }
    if given("--no-color") {
        command = command.color(ColorChoice::Never);
    }
    let cli = command
        .try_get_matches_from_mut(&arguments)
        .and_then(|found| Cli::from_arg_matches(&found));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && given("--json") => {
            let out = Out::new(true, false, true);
            let text = error.to_string();
            let message = text.trim().trim_start_matches("error: ");
            return report(&Failure::new("usage", message).exit(EXIT_USAGE), out);
        }
        Err(error) => {
            // Help that nobody reads is no failure.
            let _closed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE));
        }
    };
    let out = Out::new(cli.global.json, cli.global.verbose > 0, cli.global.no_color);
    match dispatch(&cli, command, out) {
        Ok(exit) => ExitCode::from(exit),
        Err(mut failure) => {
            if let (Some(remedy), Ok(place)) = (&failure.remedy, Place::find(&cli.global)) {
                failure.remedy = Some(place.aim(remedy));
            }
            report(&failure, out)
        }
    }
}

/// Says why on standard error, and as JSON on standard output where that was asked for.
fn report(failure: &Failure, out: Out) -> ExitCode {
    if !failure.is_closed_output() {
        // If it cannot be said, the exit status still says it.
        let _closed = match out.json {
            true => out.text(&compact(&failure.json())),
            false => std::io::stderr()
                .lock()
                .write_all(failure.text(out.err).as_bytes()),
        };
    }
    ExitCode::from(failure.exit)
}

fn dispatch(cli: &Cli, mut command: clap::Command, out: Out) -> Result<u8, Failure> {
    if let Command::Completions { shell } = &cli.command {
        let name = command.get_bin_name().unwrap_or("clawdbot").to_owned();
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut command, name, &mut script);
        out.text(&String::from_utf8_lossy(&script))?;
        return Ok(0);
    }
    let place = match &cli.command {
        Command::Up(_) => Place::single(&cli.global)?,
        _ => Place::find(&cli.global)?,
    };
    let sockets = Sockets::of(&place);
    match &cli.command {
        Command::Completions { .. } => Ok(0),
        Command::Up(_) if rights::is_root() && place.flags.is_empty() && is_the_systems(&place) => {
            Err(Failure::new("up.system", format!("the services of this machine keep their state in {}", place.state.display()))
                .remedy("sudo clawdbot service start starts them; for an assistant beside them name another directory with --state-dir"))
        }
        Command::Up(up) => up::run(up, || chat(&place, "main", out), &place, out),
        Command::Chat(wanted) => {
            let mut chat = chat(&place, &wanted.session, out);
            block_on(until_ended(async {
                match &wanted.message {
                    Some(message) => chat.once(message).await,
                    None => chat.talk().await,
                }
            }))
        }
        Command::Status => block_on(status::run(&sockets, out)),
        Command::Config(Config::Validate) if remote::is_closed(&place) => {
            block_on(remote::validate(&sockets, out))
        }
        Command::Config(Config::Get { path }) if remote::is_closed(&place) => {
            block_on(remote::get(path.as_deref(), &sockets, out))
        }
        Command::Topology => block_on(topology::run(&sockets, out)),
        Command::Open => block_on(access::open(&sockets, out)),
        Command::Token { rotate } => block_on(access::token(&sockets, *rotate, out)),
        Command::Config(Config::Validate) => config::validate(&place, out),
        Command::Config(Config::Get { path }) => config::get(path.as_deref(), &place, out),
        Command::Config(Config::Set { settings, string }) => {
            config::set(settings, *string, &place, out)
        }
        Command::Config(Config::Unset { path }) => config::unset(path, &place, out),
        Command::Config(Config::Schema { markdown }) => config::schema(*markdown, out),
        Command::Config(Config::Path) => config::path(&place, out),
        Command::Doctor(wanted) | Command::Security(Security::Audit(wanted)) => {
            if wanted.fix.is_some() && place.is_system() {
                rights::root_only("doctor --fix")?;
            }
            if wanted.probe && place.is_system() {
                rights::root_only("doctor --probe")?;
            }
            block_on(doctor::run(wanted, &sockets, &place, out))
        }
        Command::Login(wanted) => block_on(until_ended(login::login(wanted, &sockets, out))),
        Command::Logout(wanted) => block_on(login::logout(wanted, &sockets, out)),
        Command::Credentials(Credentials::List) => block_on(credentials::list(&sockets, out)),
        Command::Sandbox(wanted) => block_on(sandbox::run(wanted, &sockets, out)),
        Command::Approvals(wanted) => block_on(approvals::run(wanted, &sockets, out)),
        Command::Pairing(wanted) => block_on(pairing::run(wanted, &sockets, out)),
        Command::Audit(wanted) => block_on(audit::run(wanted, &place, &sockets, out)),
        Command::Sessions => block_on(sessions::run(&sockets, out)),
        Command::Service(wanted) => service::run(*wanted, &place, out),
        Command::Apply { check: true } if remote::is_closed(&place) => block_on(async {
            let needs = remote::needs(&sockets).await?;
            apply::check_by(&needs, &place, out)
        }),
        Command::Apply { check } => apply::run(*check, &place, out),
        Command::Logs(wanted) => logs::run(wanted, &place, out),
    }
}

fn chat(place: &Place, session: &str, out: Out) -> Chat {
    Chat {
        sockets: Sockets::of(place),
        out,
        session: session.to_owned(),
        history: history(place),
        tools: out.verbose || check::shows_tools(place),
    }
}

/// Whether the package's units work in this state directory.
fn is_the_systems(place: &Place) -> bool {
    place.state == Path::new(clawdbot_service::system::STATE) && installed()
}

/// Where the lines typed in a chat are kept: with the state, or where that is the system's, in this user's home.
fn history(place: &Place) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home.filter(|_| place.is_system()) {
        Some(home) => home.join(".clawdbot-history"),
        None => place.state.join("cli-history"),
    }
}

/// Runs `work` on a runtime of one thread.
///
/// # Errors
/// Those of `work`, or when no runtime can be made.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    // A thread that waits for the terminal does not hold up the end.
    runtime.shutdown_background();
    done
}
