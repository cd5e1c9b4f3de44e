//! Request bodies: never longer than the caller says, whether they announce their length or not.
#![allow(
    clippy::result_large_err,
    reason = "both sides of these results are answers"
)]

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::reply::{self, Reply};

/// Whether a body says that it is longer than `limit`.
pub fn is_too_large<B: hyper::body::Body>(request: &Request<B>, limit: usize) -> bool {
    request.body().size_hint().lower() > limit as u64
}

/// The whole body, if it is not longer than `limit`.
pub async fn read(request: Request<Incoming>, limit: usize) -> Result<Bytes, Reply> {
    if is_too_large(&request, limit) {
        return Err(too_large(limit));
    }
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(_) => Err(reply::plain(
            StatusCode::BAD_REQUEST,
            "The request body is cut or malformed.",
        )),
    }
}

/// The answer to a body that is too long.
pub fn too_large(limit: usize) -> Reply {
    let text = format!("The request body may have at most {limit} bytes.");
    let mut reply = reply::plain(StatusCode::PAYLOAD_TOO_LARGE, &text);
    // The rest of the body is not read.
    reply::set(&mut reply, header::CONNECTION, "close");
    reply
}
