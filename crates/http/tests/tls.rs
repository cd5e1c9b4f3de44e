//! TLS against a real rustls server with a certificate of our own making.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is what a test reports

mod peer;

use std::sync::Arc;

use clawdbot_http::{Connection, HttpError, Limits, Tls};
use clawdbot_identity::Destination;
use peer::{Then, get, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A certificate authority, and a server's chain for `name`.
struct Authority {
    root: CertificateDer<'static>,
    server: Arc<ServerConfig>,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([name.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![leaf.der().clone()],
        PrivateKeyDer::Pkcs8(key.serialize_der().into()),
    )
    .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Authority {
        root: issuer.der().clone(),
        server: Arc::new(server),
    }
}

fn trusting(root: &CertificateDer<'static>) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    Tls::trusting(roots).unwrap()
}

/// Connects to a TLS server with `authority`'s certificate that gives `replies`; `rude` leaves out TLS's own goodbye.
async fn connect(
    authority: &Authority,
    tls: &Tls,
    to: &str,
    replies: Vec<Vec<u8>>,
    rude: bool,
) -> Result<Connection, HttpError> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let acceptor = TlsAcceptor::from(Arc::clone(&authority.server));
    tokio::spawn(async move {
        let Ok(mut stream) = acceptor.accept(far).await else {
            return;
        };
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let (tell, _told) = tokio::sync::mpsc::unbounded_channel();
        serve(
            &mut stream,
            &replies,
            if rude { Then::Ignore } else { Then::Close },
            &tell,
        )
        .await;
    });
    Connection::tls(near, &Destination::parse(to).unwrap(), tls).await
}

#[tokio::test]
async fn a_trusted_server_is_asked_over_http_1_1() {
    for (name, to) in [
        ("api.example.com", "api.example.com:443"),
        ("127.0.0.1", "127.0.0.1:8443"),
        ("::1", "[::1]:443"),
    ] {
        let authority = authority(name);
        let tls = trusting(&authority.root);
        let connection = connect(&authority, &tls, to, vec![OK.into()], false)
            .await
            .unwrap();
        let mut response = connection.send(get("/"), &Limits::default()).await.unwrap();
        assert_eq!(
            response.body_mut().read_all(10).await.unwrap(),
            b"ok",
            "{name}"
        );
    }
}

#[tokio::test]
async fn another_name_and_an_unknown_authority_are_refused_before_anything_is_sent() {
    let ours = authority("api.example.com");
    let theirs = authority("api.example.com");
    let public = Tls::public().unwrap();
    for (tls, to) in [
        (&trusting(&ours.root), "other.example.com:443"),
        (&trusting(&theirs.root), "api.example.com:443"),
        (&public, "api.example.com:443"),
    ] {
        let result = connect(&ours, tls, to, vec![OK.into()], false).await;
        let Err(HttpError::Handshake { host, reason }) = result else {
            panic!("{to}")
        };
        assert!(
            to.starts_with(&host) && reason.contains("certificate"),
            "{host}: {reason}"
        );
    }
}

#[tokio::test]
async fn an_end_of_stream_without_tls_goodbye_is_a_truncated_answer() {
    let authority = authority("a.example");
    let tls = trusting(&authority.root);
    // No length: the end of the stream ends the body, so it has to be authentic.
    for (rude, expected) in [(false, true), (true, false)] {
        let reply = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello".to_vec();
        let (near, far) = tokio::io::duplex(64 << 10);
        let acceptor = TlsAcceptor::from(Arc::clone(&authority.server));
        tokio::spawn(async move {
            let mut stream = acceptor.accept(far).await.unwrap();
            peer::read_head(&mut stream).await;
            stream.write_all(&reply).await.unwrap();
            stream.flush().await.unwrap();
            if !rude {
                stream.shutdown().await.unwrap();
            }
        });
        let connection = Connection::tls(near, &Destination::parse("a.example:443").unwrap(), &tls)
            .await
            .unwrap();
        let mut response = connection.send(get("/"), &Limits::default()).await.unwrap();
        let body = response.body_mut().read_all(100).await;
        assert_eq!(body.is_ok(), expected, "{body:?}");
        assert!(
            expected || matches!(body, Err(HttpError::Truncated)),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn a_kept_tls_connection_that_dies_is_stale_too() {
    let authority = authority("a.example");
    let tls = trusting(&authority.root);
    let connection = connect(&authority, &tls, "a.example:443", vec![OK.into()], true)
        .await
        .unwrap();
    let mut response = connection.send(get("/"), &Limits::default()).await.unwrap();
    response.body_mut().read_all(10).await.unwrap();
    let connection = response.into_body().into_connection().await.unwrap();
    assert!(matches!(
        connection.send(get("/"), &Limits::default()).await,
        Err(HttpError::Stale)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_shake_hands_is_given_up() {
    let (near, _far) = tokio::io::duplex(4096);
    let tls = Tls::public().unwrap();
    let result = Connection::tls(near, &Destination::parse("a.example:443").unwrap(), &tls).await;
    assert!(matches!(
        result,
        Err(HttpError::HandshakeTimeout { seconds: 10, .. })
    ));
}
