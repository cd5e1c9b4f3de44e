//! HTTP over connected sockets that the dialer handed over (feature `client`), and a limit on how deep JSON may nest.
//!
//! [`Socket::adopt`] takes the descriptor, [`Connection::tls`] or [`Connection::plain`] the stream, [`Connection::send`]
//! makes one request with it, and the [`Body`] gives the connection back when the answer was read to its end. A [`Pool`]
//! keeps connections for the next request:
//!
//! ```no_run
//! # use bytes::Bytes;
//! # use clawdbot_http::{BaseUrl, Connection, HttpError, Limits, Pool};
//! # async fn fresh() -> Result<Connection, HttpError> { Err(HttpError::Closed) }
//! # async fn ask(pool: &Pool, server: &BaseUrl, request: http::Request<Bytes>) -> Result<(), HttpError> {
//! let mut answer = pool.send(server, request, &Limits::default(), fresh).await?;
//! while let Some(piece) = answer.body_mut().next().await {
//!     let _: Bytes = piece?;
//! }
//! if let Some(connection) = answer.into_body().into_connection().await {
//!     pool.give(connection);
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "client")]
mod base_url;
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
mod pool;
#[cfg(feature = "client")]
mod socket;
#[cfg(feature = "client")]
mod tls;
#[cfg(feature = "client")]
mod watched;

#[cfg(feature = "client")]
pub use base_url::{BaseUrl, BaseUrlError};
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
pub use pool::Pool;
#[cfg(feature = "client")]
pub use socket::Socket;
#[cfg(feature = "client")]
pub use tls::Tls;
