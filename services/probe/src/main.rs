//! A process of the product that has been taken over: it starts exactly as the service does, by the same
//! code with the same profile, and then makes attempts instead of doing its work. Its name, the first
//! argument, says which service it is and where the plan lies: `agent /path/to/plan`, or `agent -`. Started by a supervisor
//! under the name of a service it finds its plan in the state directory. Told so it makes all attempts in the unit that it
//! was started in, one process after the other.

#[cfg(target_os = "linux")]
mod attack;
#[cfg(target_os = "linux")]
mod rounds;
#[cfg(target_os = "linux")]
mod serial;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "neighbour", ..] => clawdbot_attempts::main(),
        [_, rest @ ..] if matches!(rest.first(), Some(&"rounds" | &"one")) => rounds::main(rest),
        _ => attack::main(),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
