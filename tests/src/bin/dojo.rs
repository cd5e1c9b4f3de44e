//! `clawdbot-dojo`: a real policy process behind the line protocol of `tests/dojo/gate.py`.

use std::io::{BufRead as _, Write as _};

use clawdbot_tests::dojo::Adapter;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut adapter = Adapter::new();
        let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
        for line in input.lines() {
            let answer = adapter.answer(&line.unwrap()).await;
            let answer = answer.unwrap_or_else(|why| panic!("{why}\n{}", adapter.log()));
            writeln!(output, "{answer}").unwrap();
            output.flush().unwrap();
        }
    });
}
