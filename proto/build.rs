//! Turns the .proto files into messages and services, and edges.toml into static tables. A row that
//! names an unknown method, or a method that no row grants to anybody, fails the build.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    process: Vec<Process>,
    edge: Vec<Edge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    role: String,
    binary: String,
    starts: String,
    job: String,
    holds: String,
    network: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    client: String,
    server: String,
    carries: String,
    methods: Vec<Method>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Method {
    name: String,
    max: u32,
    rate: u32,
    retry: String,
}

const PROTOS: [&str; 10] = [
    "common", "config", "policy", "broker", "dialer", "gateway", "agent", "model", "executor",
    "sandbox",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=clawdbot");
    println!("cargo::rerun-if-changed=edges.toml");
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
    std::fs::write(
        Path::new(&out).join("edges.rs"),
        tables(&methods, &streams)?,
    )?;
    Ok(())
}

fn tables(known: &BTreeSet<String>, streams: &BTreeSet<String>) -> Result<String, Box<dyn Error>> {
    let table: Table = toml::from_str(&std::fs::read_to_string("edges.toml")?)?;
    let mut granted = BTreeSet::new();
    let mut out = String::from(
        "/// Every kind of process, in the order of `edges.toml`.\npub static PROCESSES: &[Process] = &[\n",
    );
    for p in &table.process {
        let starts = match p.starts.as_str() {
            "always" => "Always",
            "plan" => "Plan",
            "demand" => "Demand",
            "self" => "Itself",
            "person" => "Person",
            other => return Err(format!("edges.toml: {}: starts = {other:?}", p.role).into()),
        };
        writeln!(
            out,
            "Process {{ role: {:?}, binary: {:?}, starts: Starts::{starts}, job: {:?}, holds: {:?}, network: {:?} }},",
            p.role, p.binary, p.job, p.holds, p.network
        )?;
    }
    out.push_str("];\n/// Every permitted direction.\npub static EDGES: &[Edge] = &[\n");
    for e in &table.edge {
        let grpc = match e.carries.as_str() {
            "grpc" => true,
            "frames" => false,
            other => return Err(format!("edges.toml: carries = {other:?}").into()),
        };
        let carries = if grpc { "Grpc" } else { "Frames" };
        writeln!(
            out,
            "Edge {{ client: {:?}, server: {:?}, carries: Carries::{carries}, methods: &[",
            e.client, e.server
        )?;
        for m in &e.methods {
            let retry = match m.retry.as_str() {
                "safe" => "Safe",
                "by-id" => "ById",
                "no" => "No",
                other => return Err(format!("edges.toml: {}: retry = {other:?}", m.name).into()),
            };
            let path = if grpc {
                if !known.contains(&m.name) {
                    return Err(
                        format!("edges.toml: no method {} in the .proto files", m.name).into(),
                    );
                }
                granted.insert(m.name.clone());
                format!("/clawdbot.v1.{}", m.name.replacen('.', "/", 1))
            } else {
                m.name.clone()
            };
            if m.max == 0 || m.rate == 0 {
                return Err(
                    format!("edges.toml: {}: max and rate must be above zero", m.name).into(),
                );
            }
            writeln!(
                out,
                "Method {{ path: {path:?}, max: {}, rate: {}, retry: Retry::{retry}, streams: {} }},",
                m.max,
                m.rate,
                streams.contains(&m.name)
            )?;
        }
        out.push_str("] },\n");
    }
    out.push_str("];\n");
    if let Some(orphan) = known.difference(&granted).next() {
        return Err(format!("edges.toml: nobody may call {orphan}; grant it or delete it").into());
    }
    let all: Vec<String> = known
        .iter()
        .map(|m| format!("/clawdbot.v1.{}", m.replacen('.', "/", 1)))
        .collect();
    writeln!(
        out,
        "/// Every gRPC method that exists, by its path.\npub static METHODS: &[&str] = &{all:?};"
    )?;
    Ok(out)
}
