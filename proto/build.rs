//! Turns the .proto files into messages and services, and edges.toml into static tables; see
//! `build/edges.rs` for what it refuses.

#[path = "build/edges.rs"]
mod edges;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

const PROTOS: [&str; 10] = [
    "common", "config", "policy", "broker", "dialer", "gateway", "agent", "model", "executor",
    "sandbox",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=clawdbot");
    println!("cargo::rerun-if-changed=edges.toml");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=build.rs");
    let mut files: Vec<String> = PROTOS
        .iter()
        .map(|name| format!("clawdbot/v1/{name}.proto"))
        .collect();
    files.push("clawdbot/v1/supervisor.proto".into());
    let descriptors = protox::compile(&files, ["."])?;

    let mut methods = BTreeSet::new();
    let mut streams = BTreeSet::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}.{}", service.name(), method.name());
                if method.server_streaming() {
                    streams.insert(name.clone());
                }
                methods.insert(name);
            }
        }
    }
    let out = std::env::var("OUT_DIR")?;
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_transport(false)
        .build_client(grpc)
        .build_server(grpc)
        .skip_debug([
            "clawdbot.v1.VerifyRequest",
            "clawdbot.v1.VerifyRequest.credential",
            "clawdbot.v1.CheckKeyRequest",
            "clawdbot.v1.RedeemRequest",
            "clawdbot.v1.VerifyReply",
            "clawdbot.v1.VerifyReply.outcome",
            "clawdbot.v1.Visit",
            "clawdbot.v1.MintLoginReply",
            "clawdbot.v1.Token",
            "clawdbot.v1.AdmitOperatorRequest",
            "clawdbot.v1.AdmitOperatorRequest.way",
            "clawdbot.v1.LoadRequest",
            "clawdbot.v1.SecretEntry",
            "clawdbot.v1.SecretEntry.source",
            "clawdbot.v1.LeaseReply",
            "clawdbot.v1.LeasedSecret",
            "clawdbot.v1.LeasedHeader",
            "clawdbot.v1.PutCredentialRequest",
            "clawdbot.v1.KeyringRequest",
            "clawdbot.v1.KeyringReply",
            "clawdbot.v1.KeyringReply.outcome",
            "clawdbot.v1.SandboxRequest",
            "clawdbot.v1.SandboxVariable",
        ])
        .compile_fds(descriptors)?;
    let table = std::fs::read_to_string("edges.toml")?;
    match edges::tables(&table, &methods, &streams) {
        Ok(tables) => std::fs::write(Path::new(&out).join("edges.rs"), tables)?,
        Err(mistake) => {
            println!("cargo::error={mistake}");
            std::process::exit(1);
        }
    }
    Ok(())
}
