//! The messages of all edges, the generated clients and servers, and the one table of who may call whom.

pub mod edges;

/// Package `clawdbot.v1`: messages, `*_client` and `*_server` modules. The .proto files are the documentation.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/clawdbot.v1.rs"));
}
