//! Edges on which descriptors travel: the same messages as elsewhere, in length-prefixed frames.

mod client;
mod connection;
mod server;

pub use client::{FrameClient, FrameError};
pub use connection::FrameConnection;
pub(crate) use server::{CONCURRENT, FrameHandler, serve_frames};

use clawdbot_proto::v1::{DialerReply, DialerRequest, dialer_request};

/// A message that a reply can be paired with.
pub trait FrameMessage: prost::Message + Default + 'static {
    /// The pairing number.
    fn id(&self) -> u64;
    /// Sets the pairing number.
    fn set_id(&mut self, id: u64);
    /// Name of the edge table's row that a request comes under; empty for replies and for requests
    /// that ask nothing.
    fn row(&self) -> &'static str;
}

impl FrameMessage for DialerRequest {
    fn id(&self) -> u64 {
        self.id
    }

    fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    fn row(&self) -> &'static str {
        match self.request {
            Some(dialer_request::Request::Dial(_)) => "Dial",
            Some(dialer_request::Request::Destinations(_)) => "Destinations",
            Some(dialer_request::Request::Events(_)) => "Events",
            None => "",
        }
    }
}

impl FrameMessage for DialerReply {
    fn id(&self) -> u64 {
        self.id
    }

    fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    fn row(&self) -> &'static str {
        ""
    }
}
