//! Against hyper's own server over TCP: large bodies both ways, streamed, twice on one connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is what a test reports

use std::time::Duration;

use bytes::Bytes;
use clawdbot_http::{Connection, Limits};
use clawdbot_identity::Destination;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Streams the request's body back without declaring its length, or collects it first and declares it.
async fn echo(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, hyper::Error> {
    Ok(Response::new(match request.uri().path() {
        "/stream" => request
            .into_body()
            .map_frame(std::convert::identity)
            .boxed(),
        _ => Full::new(request.into_body().collect().await?.to_bytes())
            .map_err(|never| match never {})
            .boxed(),
    }))
}

#[tokio::test]
async fn large_bodies_come_back_whole_over_one_kept_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // One connection only: a second request on a new one would find nobody.
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let server = hyper::server::conn::http1::Builder::new();
        server
            .serve_connection(TokioIo::new(stream), service_fn(echo))
            .await
            .unwrap();
    });

    let destination = Destination::parse(&address.to_string()).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let mut connection = Connection::plain(stream, &destination).await.unwrap();
    // A limit that nobody means to meet must not overflow the clock.
    let limits = Limits {
        idle: Duration::MAX,
        total: Duration::MAX,
        ..Limits::default()
    };
    let payload: Bytes = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    for target in ["/stream", "/whole", "/stream"] {
        let request = Request::post(target).body(payload.clone()).unwrap();
        let mut response = connection.send(request, &limits).await.unwrap();
        assert_eq!(
            response.headers().contains_key("transfer-encoding"),
            target == "/stream",
            "{target}"
        );
        assert_eq!(
            response.body_mut().read_all(1 << 20).await.unwrap(),
            payload,
            "{target}"
        );
        connection = response
            .into_body()
            .into_connection()
            .await
            .expect("the server keeps it");
    }
}
