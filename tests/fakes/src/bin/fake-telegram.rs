//! Program `fake-telegram`: a Bot API server on loopback, for benches and foreign clients.
//!
//! `fake-telegram --port N --control N`
//!
//! It prints both addresses when it listens. Bots are made on the control port.

use std::net::SocketAddr;
use std::process::ExitCode;

use clawdbot_fakes::telegram::{Telegram, serve_control};

fn ports(mut arguments: impl Iterator<Item = String>) -> Result<(u16, u16), String> {
    let (mut port, mut control) = (0, 0);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let number = value.parse().map_err(|error| format!("{name}: {error}"))?;
        match name.as_str() {
            "--port" => port = number,
            "--control" => control = number,
            _ => return Err(format!("{name} is not known")),
        }
    }
    match control {
        0 => Err("--control needs a port".to_owned()),
        _ => Ok((port, control)),
    }
}

async fn serve((port, control): (u16, u16)) -> std::io::Result<()> {
    let telegram = Telegram::listen(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    let control = SocketAddr::from(([127, 0, 0, 1], control));
    #[allow(clippy::print_stdout)] // whoever started it waits for this line
    {
        println!("http://{} http://{control}", telegram.address());
    }
    serve_control(control, telegram).await
}

#[allow(clippy::print_stderr)] // it has no log
fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = ports(std::env::args().skip(1)).and_then(|ports| {
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime
            .block_on(serve(ports))
            .map_err(|error| error.to_string())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-telegram: {error}");
            ExitCode::FAILURE
        }
    }
}
