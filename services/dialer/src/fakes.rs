//! For tests: a name server on loopback that says what the test tells it to, by UDP and by TCP.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::resolv::{Resolver, Timing};

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Udp,
    Tcp,
}

/// A running name server; ends with the test's runtime.
pub(crate) struct FakeDns {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    folder: tempfile::TempDir,
}

impl FakeDns {
    /// `answer` gives the messages to send for a question.
    pub(crate) async fn start(
        answer: impl Fn(&[u8], Via) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let answer = Arc::new(answer);
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer_tcp, asked_tcp) = (Arc::clone(&answer), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut question = vec![0; usize::from(length)];
                stream.read_exact(&mut question).await.unwrap();
                asked_tcp.fetch_add(1, Ordering::SeqCst);
                for reply in answer_tcp(&question, Via::Tcp) {
                    stream
                        .write_u16(u16::try_from(reply.len()).unwrap())
                        .await
                        .unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            }
        });
        let asked_udp = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
                asked_udp.fetch_add(1, Ordering::SeqCst);
                for reply in answer(&buffer[..length], Via::Udp) {
                    udp.send_to(&reply, client).await.unwrap();
                }
            }
        });
        Self {
            address,
            asked,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Questions that came so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A resolver that asks this server, and knows what `hosts` says.
    pub(crate) fn resolver(&self, hosts: &str) -> Resolver {
        self.resolver_of("nameserver 127.0.0.1\n", hosts, PATIENT)
    }

    /// A resolver with this `resolv.conf`, whose servers listen on this server's port.
    pub(crate) fn resolver_of(&self, resolv_conf: &str, hosts: &str, timing: Timing) -> Resolver {
        let file = |name: &str, text: &str| -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let resolv_conf = file("resolv.conf", resolv_conf);
        let hosts = file("hosts", hosts);
        Resolver::new(&resolv_conf, &hosts, self.address.port(), timing)
    }
}

/// No test waits for the end of any of these.
pub(crate) const PATIENT: Timing = Timing {
    attempt: Duration::from_secs(30),
    rounds: 1,
    total: Duration::from_secs(60),
    grace: Duration::from_secs(30),
};

/// For a kind of address that never comes.
pub(crate) const UNGRACIOUS: Timing = Timing {
    grace: Duration::from_millis(50),
    ..PATIENT
};

/// For silence.
pub(crate) const IMPATIENT: Timing = Timing {
    attempt: Duration::from_millis(50),
    ..PATIENT
};

/// An honest answer: those of `addresses` that were asked for.
pub(crate) fn honest(question: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    let packet = Packet::parse(question).unwrap();
    let asked = packet.questions[0].clone();
    let mut reply = Packet::new_reply(packet.id());
    for address in addresses {
        let (kind, data) = match address {
            IpAddr::V4(ip) => (
                TYPE::A,
                RData::A(A {
                    address: ip.to_bits(),
                }),
            ),
            IpAddr::V6(ip) => (
                TYPE::AAAA,
                RData::AAAA(AAAA {
                    address: ip.to_bits(),
                }),
            ),
        };
        if asked.qtype == kind.into() {
            reply.answers.push(ResourceRecord::new(
                asked.qname.clone(),
                CLASS::IN,
                60,
                data,
            ));
        }
    }
    reply.questions.push(asked);
    reply.build_bytes_vec_compressed().unwrap()
}

/// An answer that is only a code.
pub(crate) fn code(question: &[u8], code: RCODE) -> Vec<u8> {
    let packet = Packet::parse(question).unwrap();
    let mut reply = Packet::new_reply(packet.id());
    reply.questions = packet.questions.clone();
    *reply.rcode_mut() = code;
    reply.build_bytes_vec().unwrap()
}

/// "Too long, ask by TCP."
pub(crate) fn truncated(question: &[u8]) -> Vec<u8> {
    let mut bytes = honest(question, &[]);
    bytes[2] |= (PacketFlag::TRUNCATION.bits() >> 8) as u8;
    bytes
}

/// Texts as addresses.
pub(crate) fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
