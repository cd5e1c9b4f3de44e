//! A confined worker can still do its work: agree on TLS, send a request with a key, read a streamed answer. Confinement is
//! for good and wants a process with one thread, so that this is a program of its own and no test among others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a failure is what a test reports

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;
use clawdbot_confine::profile::{Mode, profile};
use clawdbot_http::{Connection, Limits, Socket, Tls};
use clawdbot_identity::Destination;
use clawdbot_secrets::Secret;
use http::Request;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const NAME: &str = "a_confined_worker_speaks_tls";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

fn main() {
    // What test runners ask of any test program, and what they read.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    if flag("--list") {
        if !flag("--ignored") {
            println!("{NAME}: test");
        }
        return;
    }
    let mut filters = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .peekable();
    let chosen = !flag("--ignored")
        && (filters.peek().is_none() || filters.any(|filter| NAME.contains(&**filter)));
    if chosen {
        a_confined_worker_speaks_tls();
        println!("test {NAME} ... ok");
    }
    let (passed, out) = if chosen { (1, 0) } else { (0, 1) };
    println!(
        "\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {out} filtered out"
    );
}

fn a_confined_worker_speaks_tls() {
    let made = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let tls = Tls::trusting(roots).unwrap();
    let destination = Destination::parse("api.example.com:443").unwrap();

    let confinement = clawdbot_confine::confine(profile("model").unwrap(), Mode::Single, &[]);
    println!("{}", confinement.unwrap().to_line());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (near, far) = UnixStream::pair().unwrap();
        let serve = async {
            let far = Socket::adopt(far.into()).unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
            let mut stream = acceptor.accept(far).await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut seen).await.unwrap();
            }
            stream.write_all(ANSWER).await.unwrap();
            stream.flush().await.unwrap();
            String::from_utf8(seen).unwrap()
        };
        let ask = async {
            let socket = Socket::adopt(near.into()).unwrap();
            let connection = Connection::tls(socket, &destination, &tls).await.unwrap();
            let secret = Secret::new(b"key-in-locked-memory".to_vec().into()).unwrap();
            let key = secret.expose(|key| String::from_utf8(key.to_vec()).unwrap());
            let request = Request::get("/v1/models").header("x-api-key", key);
            let request = request.body(Bytes::new()).unwrap();
            let mut answer = connection.send(request, &Limits::default()).await.unwrap();
            answer.body_mut().read_all(100).await.unwrap()
        };
        let (seen, answer) = tokio::join!(serve, ask);
        assert!(seen.contains("x-api-key: key-in-locked-memory"), "{seen}");
        assert_eq!(answer, b"hello");
    });
}
