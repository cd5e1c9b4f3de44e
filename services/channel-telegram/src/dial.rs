//! Where connections come from: the dialer, or whatever a test puts in its place.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use clawdbot_http::Socket;
use clawdbot_identity::Destination;
use clawdbot_proto::v1::dialer_reply::Outcome;
use clawdbot_proto::v1::{Dial, DialerReply, DialerRequest, dialer_request::Request};
use clawdbot_service::FrameClient;

/// Makes a connection, or says why there is none.
pub type Connect = Arc<
    dyn Fn(Destination) -> Pin<Box<dyn Future<Output = Result<Socket, String>> + Send>>
        + Send
        + Sync,
>;

/// Connections that the dialer makes.
#[must_use]
pub fn through_dialer(dialer: FrameClient<DialerRequest, DialerReply>) -> Connect {
    Arc::new(move |destination| {
        let dialer = dialer.clone();
        Box::pin(async move { dial(&dialer, &destination).await })
    })
}

async fn dial(
    dialer: &FrameClient<DialerRequest, DialerReply>,
    destination: &Destination,
) -> Result<Socket, String> {
    let request = DialerRequest {
        id: 0,
        request: Some(Request::Dial(Dial {
            host: destination.host().to_string(),
            port: destination.port().into(),
        })),
    };
    let (reply, fds) = dialer.call(request).await.map_err(|e| e.to_string())?;
    match (reply.outcome, fds.into_iter().next()) {
        (Some(Outcome::Connected(_)), Some(socket)) => {
            Socket::adopt(socket).map_err(|error| error.to_string())
        }
        (Some(Outcome::Refused(refused)), _) => Err(refused.message),
        (Some(Outcome::Failed(failed)), _) => Err(failed.message),
        _ => Err("the dialer gave no socket".to_owned()),
    }
}
