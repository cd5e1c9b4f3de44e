//! Lists every message of the .proto files, so that none can be forgotten.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

const PROTOS: &str = "../../proto/clawdbot/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTOS}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(PROTOS)? {
        files.push(format!("clawdbot/v1/{}", entry?.file_name().display()));
    }
    files.sort_unstable();
    let descriptors = protox::compile(&files, ["../../proto"])?;
    let messages = descriptors.file.iter().flat_map(|file| &file.message_type);
    let mut table = String::from("&[\n");
    for message in messages {
        let name = message.name();
        writeln!(table, "    ({name:?}, again::<v1::{name}>),")?;
    }
    table.push(']');
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("messages.rs"), table)?;
    Ok(())
}
