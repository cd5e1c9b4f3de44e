//! The resolver against a name server that lies, cuts, stays silent or changes its mind.

use std::net::IpAddr;

use clawdbot_identity::HostName;
use simple_dns::RCODE;
use tokio::net::UdpSocket;

use super::ResolveError;
use crate::fakes::{FakeDns, IMPATIENT, PATIENT, UNGRACIOUS, Via, code, honest, ips, truncated};

fn host(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn both() -> Vec<IpAddr> {
    ips(&["2001:db8::7", "192.0.2.7"])
}

#[tokio::test]
async fn both_kinds_of_address_are_asked_for_and_ipv6_comes_first() {
    let dns = FakeDns::start(|q, _| vec![honest(q, &both())]).await;
    assert_eq!(
        dns.resolver("").lookup(&host("a.example")).await,
        Ok(both())
    );
    assert_eq!(dns.asked(), 2);
}

#[tokio::test]
async fn literals_hosts_and_localhost_are_not_asked_for() {
    let dns = FakeDns::start(|q, _| vec![honest(q, &both())]).await;
    let resolver = dns.resolver("10.1.2.3 nas nas.lan\n");
    assert_eq!(
        resolver.lookup(&host("192.0.2.9")).await,
        Ok(ips(&["192.0.2.9"]))
    );
    assert_eq!(resolver.lookup(&host("::1")).await, Ok(ips(&["::1"])));
    assert_eq!(
        resolver.lookup(&host("NAS.lan")).await,
        Ok(ips(&["10.1.2.3"]))
    );
    assert_eq!(
        resolver.lookup(&host("localhost")).await,
        Ok(ips(&["::1", "127.0.0.1"]))
    );
    assert_eq!(dns.asked(), 0);
}

#[tokio::test]
async fn forged_datagrams_are_passed_over_and_the_true_one_counts() {
    let dns = FakeDns::start(|q, _| {
        let forged = honest(q, &ips(&["203.0.113.66", "2001:db8::66"]));
        let mut other_id = forged.clone();
        other_id[0] ^= 1;
        let mut other_name = forged.clone();
        other_name[13] = b'z';
        let mut no_answer = forged.clone();
        no_answer[2] &= 0x7f;
        vec![
            other_id,
            other_name,
            no_answer,
            b"noise".to_vec(),
            Vec::new(),
            honest(q, &both()),
        ]
    })
    .await;
    assert_eq!(
        dns.resolver("").lookup(&host("a.example")).await,
        Ok(both())
    );
}

#[tokio::test]
async fn a_datagram_from_another_port_is_not_heard() {
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = server.recv_from(&mut buffer).await.unwrap();
            let question = &buffer[..length];
            let forged = honest(question, &ips(&["203.0.113.66", "2001:db8::66"]));
            stranger.send_to(&forged, client).unwrap();
            server
                .send_to(&honest(question, &both()), client)
                .await
                .unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("resolv.conf");
    std::fs::write(&conf, "nameserver 127.0.0.1").unwrap();
    let none = folder.path().join("hosts");
    let resolver = super::Resolver::new(&conf, &none, port, PATIENT);
    assert_eq!(resolver.lookup(&host("a.example")).await, Ok(both()));
}

#[tokio::test]
async fn an_answer_that_is_cut_is_asked_for_again_by_tcp() {
    let dns = FakeDns::start(|q, via| match via {
        Via::Udp => vec![truncated(q)],
        Via::Tcp => vec![honest(q, &both())],
    })
    .await;
    assert_eq!(
        dns.resolver("").lookup(&host("a.example")).await,
        Ok(both())
    );
    assert_eq!(dns.asked(), 4);
}

#[tokio::test]
async fn an_answer_by_tcp_to_another_question_is_refused() {
    let dns = FakeDns::start(|q, via| match via {
        Via::Udp => vec![truncated(q)],
        Via::Tcp => {
            let mut other = honest(q, &both());
            other[0] ^= 1;
            vec![other]
        }
    })
    .await;
    let result = dns.resolver("").lookup(&host("a.example")).await;
    assert!(matches!(result, Err(ResolveError::Failed(_))), "{result:?}");
}

#[tokio::test]
async fn a_server_that_knows_no_extensions_is_asked_plainly() {
    let dns = FakeDns::start(|q, _| {
        let extended = simple_dns::Packet::parse(q).unwrap().opt().is_some();
        vec![if extended {
            code(q, RCODE::FormatError)
        } else {
            honest(q, &both())
        }]
    })
    .await;
    assert_eq!(
        dns.resolver("").lookup(&host("a.example")).await,
        Ok(both())
    );
}

#[tokio::test]
async fn what_the_servers_say_of_a_name_is_told_apart() {
    let dns = FakeDns::start(|q, _| {
        let name = simple_dns::Packet::parse(q).unwrap().questions[0]
            .qname
            .to_string();
        match name.as_str() {
            "nowhere.example" => vec![code(q, RCODE::NameError)],
            "empty.example" => vec![honest(q, &[])],
            "broken.example" => vec![code(q, RCODE::ServerFailure)],
            _ => vec![honest(q, &both())],
        }
    })
    .await;
    let resolver = dns.resolver("");
    let of = async |name| resolver.lookup(&host(name)).await;
    assert_eq!(of("nowhere.example").await, Err(ResolveError::NoSuchName));
    assert_eq!(of("empty.example").await, Err(ResolveError::NoAddress));
    assert!(matches!(
        of("broken.example").await,
        Err(ResolveError::Failed(_))
    ));
    assert_eq!(of("good.example").await, Ok(both()));
}

#[tokio::test]
async fn silence_ends_in_time() {
    let dns = FakeDns::start(|_, _| vec![]).await;
    let resolver = dns.resolver_of("nameserver 127.0.0.1", "", IMPATIENT);
    assert_eq!(
        resolver.lookup(&host("a.example")).await,
        Err(ResolveError::TimedOut)
    );
}

#[tokio::test]
async fn one_kind_that_never_comes_does_not_take_the_other_along() {
    let dns = FakeDns::start(|q, _| {
        let packet = simple_dns::Packet::parse(q).unwrap();
        let four = packet.questions[0].qtype == simple_dns::TYPE::A.into();
        if four {
            vec![honest(q, &both())]
        } else {
            vec![]
        }
    })
    .await;
    let resolver = dns.resolver_of("nameserver 127.0.0.1\n", "", UNGRACIOUS);
    assert_eq!(
        resolver.lookup(&host("a.example")).await,
        Ok(ips(&["192.0.2.7"]))
    );
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_gone_or_cannot_say() {
    let dns = FakeDns::start(|q, _| vec![honest(q, &both())]).await;
    // Nobody listens at 127.0.0.2 on that port.
    let resolver = dns.resolver_of("nameserver 127.0.0.2\nnameserver 127.0.0.1\n", "", PATIENT);
    assert_eq!(resolver.lookup(&host("a.example")).await, Ok(both()));
    let resolver = dns.resolver_of("nameserver 127.0.0.2\n", "", PATIENT);
    assert!(
        resolver.lookup(&host("a.example")).await.is_err(),
        "the control"
    );
}

#[tokio::test]
async fn a_changed_resolv_conf_counts_at_the_next_question() {
    let dns = FakeDns::start(|q, _| vec![honest(q, &both())]).await;
    let resolver = dns.resolver_of("nameserver 127.0.0.2\n", "", PATIENT);
    assert!(resolver.lookup(&host("a.example")).await.is_err());
    let _same_files = dns.resolver_of("nameserver 127.0.0.1 # now\n", "", PATIENT);
    assert_eq!(resolver.lookup(&host("a.example")).await, Ok(both()));
}
