//! HTTP over connected sockets that the dialer handed over (feature `client`), and a limit on how deep JSON may nest.
//!
//! [`Connection::tls`] or [`Connection::plain`] takes a stream, [`Connection::send`] makes one request with it, and the
//! [`Body`] gives the connection back when the answer was read to its end, so a caller keeps one in an `Option`:
//!
//! ```no_run
//! # use bytes::Bytes;
//! # use clawdbot_http::{Connection, HttpError, Limits};
//! # async fn fresh() -> Result<Connection, HttpError> { Err(HttpError::Closed) }
//! # async fn ask(kept: &mut Option<Connection>, request: http::Request<Bytes>) -> Result<(), HttpError> {
//! let limits = Limits::default();
//! let reused = match kept.take() {
//!     Some(connection) => match connection.send(request.clone(), &limits).await {
//!         Err(HttpError::Stale) => None, // the server had hung up meanwhile: once more on a fresh socket
//!         answer => Some(answer?),
//!     },
//!     None => None,
//! };
//! let mut answer = match reused {
//!     Some(answer) => answer,
//!     None => fresh().await?.send(request, &limits).await?,
//! };
//! while let Some(piece) = answer.body_mut().next().await {
//!     let _: Bytes = piece?;
//! }
//! *kept = answer.into_body().into_connection().await;
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "client")]
mod body;
#[cfg(feature = "client")]
mod connection;
mod depth;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod limits;
#[cfg(feature = "client")]
mod tls;
#[cfg(feature = "client")]
mod watched;

#[cfg(feature = "client")]
pub use body::Body;
#[cfg(feature = "client")]
pub use connection::Connection;
pub use depth::{DepthError, json_depth};
#[cfg(feature = "client")]
pub use error::HttpError;
#[cfg(feature = "client")]
pub use limits::Limits;
#[cfg(feature = "client")]
pub use tls::Tls;
