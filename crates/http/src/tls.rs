//! TLS as a client: the public web's roots compiled in, TLS 1.2 and 1.3, HTTP/1.1, one cryptography library.
//! The roots of the machine are not read: a confined process has no files, and a changed trust store shall not matter.

use std::sync::Arc;
use std::time::Duration;

use clawdbot_identity::HostName;
use clawdbot_identity::text::sanitize_line;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::HttpError;

/// How long a server may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Whom TLS trusts. Make it once and keep it: it also remembers sessions, which saves time when connecting again.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the certificate authorities of the public web (Mozilla's list).
    ///
    /// # Errors
    /// When the cryptography library lacks what TLS needs; then no build of this program works.
    pub fn public() -> Result<Self, rustls::Error> {
        Self::trusting(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        })
    }

    /// Trusts these authorities and no others.
    ///
    /// # Errors
    /// As [`public`](Self::public).
    pub fn trusting(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Agrees on TLS with `host` over a connected stream.
    pub(crate) async fn connect<S>(
        &self,
        host: &HostName,
        stream: S,
    ) -> Result<TlsStream<S>, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |reason: &dyn std::fmt::Display| HttpError::Handshake {
            host: host.to_string(),
            reason: sanitize_line(&reason.to_string()).into_owned(),
        };
        let name = ServerName::try_from(host.as_str())
            .map_err(|error| failed(&error))?
            .to_owned();
        let handshake = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream);
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(result) => result.map_err(|error| failed(&error)),
            Err(_) => Err(HttpError::HandshakeTimeout {
                host: host.to_string(),
                seconds: HANDSHAKE.as_secs(),
            }),
        }
    }
}
