//! Program `fake-provider`: a model provider on loopback, for benches and foreign clients.
//!
//! `fake-provider --port N [--delay-ms N] [--gap-ms N] [--words N] [--key K]`
//!
//! It prints its address when it listens. Without `--words` it says the last message back; `fault:NAME` in that message asks
//! for a misbehaviour, `call TOOL {json}` for a tool call.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clawdbot_fakes::provider::{Pace, Provider};

#[derive(Default)]
struct Options {
    port: u16,
    delay: u64,
    gap: u64,
    words: Option<usize>,
    key: Option<String>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let bad = |error| format!("{name}: {error}");
        match name.as_str() {
            "--port" => options.port = value.parse().map_err(bad)?,
            "--delay-ms" => options.delay = value.parse().map_err(bad)?,
            "--gap-ms" => options.gap = value.parse().map_err(bad)?,
            "--words" => options.words = Some(value.parse().map_err(bad)?),
            "--key" => options.key = Some(value),
            _ => return Err(format!("{name} is not known")),
        }
    }
    Ok(options)
}

async fn serve(options: Options) -> std::io::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], options.port));
    let provider = Provider::listen(address).await?;
    provider.pace(Pace {
        first: Duration::from_millis(options.delay),
        gap: Duration::from_millis(options.gap),
    });
    if let Some(words) = options.words {
        provider.bench(words);
    }
    if let Some(key) = &options.key {
        provider.require_key(key);
    }
    #[allow(clippy::print_stdout)] // whoever started it waits for this line
    {
        println!("http://{}", provider.address());
    }
    std::future::pending().await
}

#[allow(clippy::print_stderr)] // it has no log
fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = options(std::env::args().skip(1)).and_then(|options| {
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime
            .block_on(serve(options))
            .map_err(|error| error.to_string())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-provider: {error}");
            ExitCode::FAILURE
        }
    }
}
