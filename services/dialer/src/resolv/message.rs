//! DNS messages: a question for the addresses of one name, and what an answer to it says. Refuses to
//! take for an answer what does not repeat id and question; reads nothing but the answer section.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clawdbot_identity::HostName;
use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, TYPE};

/// What fits through every network in one datagram (DNS flag day 2020).
pub const DATAGRAM: u16 = 1232;
/// Links of a chain of aliases that are followed.
const MAX_LINKS: usize = 8;
/// Addresses of one answer that are used.
const MAX_ADDRESSES: usize = 16;
const HEADER: usize = 12;
/// The shortest resource record: a root name, type, class, time to live, length.
const SHORTEST_RECORD: usize = 11;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

/// A question on its way.
#[derive(Debug)]
pub struct Query {
    name: HostName,
    kind: Kind,
    bytes: Vec<u8>,
    /// Length of header and question, the part that an answer repeats.
    head: usize,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The addresses; none when the name has none of this kind.
    Addresses(Vec<IpAddr>),
    /// The name does not exist.
    NoSuchName,
    /// Too long for a datagram: ask by TCP.
    Truncated,
    /// The server does not know extended messages (RFC 6891): ask without.
    Plain,
    /// The server cannot or will not say, or what it says makes no sense: ask another.
    Failed(String),
}

impl Query {
    /// A question for `name`, which must not be an address. `extended` announces [`DATAGRAM`].
    /// None when the name cannot be written as a question.
    pub fn new(id: u16, name: &HostName, kind: Kind, extended: bool) -> Option<Self> {
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let qname = Name::new(name.as_str()).ok()?;
        let qtype = match kind {
            Kind::A => TYPE::A,
            Kind::Aaaa => TYPE::AAAA,
        };
        packet
            .questions
            .push(Question::new(qname, qtype.into(), CLASS::IN.into(), false));
        let head = packet.build_bytes_vec().ok()?.len();
        if extended {
            let opt = OPT {
                opt_codes: Vec::new(),
                udp_packet_size: DATAGRAM,
                version: 0,
            };
            *packet.opt_mut() = Some(opt);
        }
        let bytes = packet.build_bytes_vec().ok()?;
        Some(Self {
            name: name.clone(),
            kind,
            bytes,
            head,
        })
    }

    /// The message to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What `message` says. None when it is no answer to this question: another id, another
    /// question, no answer at all; wait on, for it may be forged.
    pub fn read(&self, message: &[u8]) -> Option<Answer> {
        let header: &[u8; HEADER] = message.first_chunk()?;
        let [id_high, id_low, flags, code, count @ ..] = header;
        let is_answer = flags & 0xf8 == 0x80;
        if !self.bytes.starts_with(&[*id_high, *id_low]) || !is_answer {
            return None;
        }
        let code = code & 0x0f;
        // FORMERR and NOTIMP may come without the question; then socket and id must do.
        if matches!(code, 1 | 4) {
            return Some(Answer::Plain);
        }
        let asked = self.bytes.get(HEADER..self.head)?;
        let repeated = message.get(HEADER..self.head)?;
        if !count.starts_with(&[0, 1]) || !asked.eq_ignore_ascii_case(repeated) {
            return None;
        }
        Some(match code {
            _ if flags & 0x02 != 0 => Answer::Truncated,
            0 => self
                .addresses(message)
                .unwrap_or_else(|why| Answer::Failed(why.into())),
            3 => Answer::NoSuchName,
            2 => Answer::Failed("the name server failed (SERVFAIL)".into()),
            5 => Answer::Failed("the name server refused to answer".into()),
            other => Answer::Failed(format!("the name server answered with code {other}")),
        })
    }

    /// The addresses of the name at the end of the chain of aliases.
    fn addresses(&self, message: &[u8]) -> Result<Answer, &'static str> {
        let mut message = message.to_vec();
        let records = match message.get(6..8) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => 0,
        };
        if records * SHORTEST_RECORD > message.len() - self.head {
            return Err("the answer announces more records than it can hold");
        }
        // What follows the answers is not needed, so it is not parsed.
        message.get_mut(8..HEADER).unwrap_or_default().fill(0);
        let packet = Packet::parse(&message).map_err(|_| "the answer is malformed")?;

        let mut owner = Name::new(self.name.as_str()).map_err(|_| "the name is invalid")?;
        for _ in 0..=MAX_LINKS {
            let records = || {
                packet
                    .answers
                    .iter()
                    .filter(|r| r.class == CLASS::IN && r.name == owner)
            };
            let mut found: Vec<IpAddr> = records().filter_map(|r| self.address(&r.rdata)).collect();
            let alias = records().find_map(|r| match &r.rdata {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            match alias {
                Some(target) if found.is_empty() => owner = target,
                _ => {
                    found.truncate(MAX_ADDRESSES);
                    return Ok(Answer::Addresses(found));
                }
            }
        }
        Err("the answer is a chain of aliases without an end")
    }

    fn address(&self, data: &RData<'_>) -> Option<IpAddr> {
        match (self.kind, data) {
            (Kind::A, RData::A(a)) => Some(Ipv4Addr::from(a.address).into()),
            (Kind::Aaaa, RData::AAAA(a)) => Some(Ipv6Addr::from(a.address).into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::rdata::{A, AAAA, CNAME};
    use simple_dns::{RCODE, ResourceRecord};

    const ID: u16 = 0x1234;

    fn query(kind: Kind) -> Query {
        Query::new(ID, &HostName::parse("api.example.com").unwrap(), kind, true).unwrap()
    }

    fn a(owner: &'static str, last: u8) -> ResourceRecord<'static> {
        let data = RData::A(A {
            address: u32::from_be_bytes([192, 0, 2, last]),
        });
        ResourceRecord::new(Name::new(owner).unwrap(), CLASS::IN, 60, data)
    }

    fn cname(owner: &'static str, target: &'static str) -> ResourceRecord<'static> {
        let data = RData::CNAME(CNAME(Name::new(target).unwrap()));
        ResourceRecord::new(Name::new(owner).unwrap(), CLASS::IN, 60, data)
    }

    fn reply(records: Vec<ResourceRecord<'static>>) -> Packet<'static> {
        let mut packet = Packet::new_reply(ID);
        let name = Name::new("api.example.com").unwrap();
        packet
            .questions
            .push(Question::new(name, TYPE::A.into(), CLASS::IN.into(), false));
        packet.answers = records;
        packet
    }

    fn read(packet: &Packet<'_>) -> Option<Answer> {
        query(Kind::A).read(&packet.build_bytes_vec_compressed().unwrap())
    }

    fn ips(lasts: &[u8]) -> Option<Answer> {
        Some(Answer::Addresses(
            lasts
                .iter()
                .map(|l| IpAddr::from([192, 0, 2, *l]))
                .collect(),
        ))
    }

    #[test]
    fn a_question_announces_its_datagram_and_asks_for_recursion() {
        let query = query(Kind::Aaaa);
        let packet = Packet::parse(query.bytes()).unwrap();
        assert_eq!(packet.id(), ID);
        assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED));
        assert_eq!(packet.opt().map(|opt| opt.udp_packet_size), Some(DATAGRAM));
        assert_eq!(packet.questions[0].qname.to_string(), "api.example.com");
        assert_eq!(packet.questions[0].qtype, TYPE::AAAA.into());
    }

    #[test]
    fn addresses_are_taken_from_the_name_and_from_the_end_of_its_aliases() {
        assert_eq!(
            read(&reply(vec![
                a("api.example.com", 1),
                a("api.example.com", 2)
            ])),
            ips(&[1, 2])
        );
        assert_eq!(read(&reply(vec![a("API.Example.com", 1)])), ips(&[1]));
        let chain = vec![
            cname("b.example", "c.example"),
            cname("api.example.com", "b.example"),
            a("c.example", 3),
        ];
        assert_eq!(read(&reply(chain)), ips(&[3]));
        assert_eq!(read(&reply(vec![])), ips(&[]));
        assert_eq!(
            read(&reply(vec![cname("api.example.com", "b.example")])),
            ips(&[])
        );
        assert_eq!(
            read(&reply(vec![a("other.example", 9)])),
            ips(&[]),
            "another name's address"
        );
    }

    #[test]
    fn an_address_of_the_other_kind_is_not_taken() {
        let data = RData::AAAA(AAAA { address: 1 });
        let record =
            ResourceRecord::new(Name::new("api.example.com").unwrap(), CLASS::IN, 60, data);
        assert_eq!(read(&reply(vec![record])), ips(&[]));
    }

    #[test]
    fn a_chain_that_bites_its_tail_is_refused() {
        for records in [
            vec![cname("api.example.com", "api.example.com")],
            vec![
                cname("api.example.com", "b.example"),
                cname("b.example", "api.example.com"),
            ],
        ] {
            assert!(matches!(read(&reply(records)), Some(Answer::Failed(_))));
        }
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_not_read() {
        let good = reply(vec![a("api.example.com", 1)])
            .build_bytes_vec()
            .unwrap();
        assert_eq!(
            query(Kind::A).read(&good),
            ips(&[1]),
            "the positive control"
        );
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            query(Kind::A).read(&bytes)
        };
        assert_eq!(changed(0, 0), None, "another id");
        assert_eq!(changed(2, 0x00), None, "a question");
        assert_eq!(changed(2, 0x88), None, "another operation");
        assert_eq!(changed(5, 0), None, "no question");
        assert_eq!(changed(5, 2), None, "two questions");
        assert_eq!(changed(14, b'x'), None, "another name");
        assert_eq!(query(Kind::Aaaa).read(&good), None, "another type");
        assert_eq!(
            query(Kind::A).read(&good[..20]),
            None,
            "cut inside the question"
        );
        assert_eq!(query(Kind::A).read(&[]), None);
    }

    #[test]
    fn what_the_server_says_of_itself_is_told_apart() {
        let with = |code| {
            let mut packet = reply(vec![]);
            *packet.rcode_mut() = code;
            read(&packet)
        };
        assert_eq!(with(RCODE::NameError), Some(Answer::NoSuchName));
        assert_eq!(with(RCODE::FormatError), Some(Answer::Plain));
        assert_eq!(with(RCODE::NotImplemented), Some(Answer::Plain));
        assert!(matches!(
            with(RCODE::ServerFailure),
            Some(Answer::Failed(_))
        ));
        assert!(matches!(with(RCODE::Refused), Some(Answer::Failed(_))));
        let mut cut = reply(vec![]);
        cut.set_flags(PacketFlag::TRUNCATION);
        assert_eq!(read(&cut), Some(Answer::Truncated));
    }

    #[test]
    fn no_bytes_make_the_reader_fall() {
        let good = reply(vec![
            cname("api.example.com", "b.example"),
            a("b.example", 1),
        ])
        .build_bytes_vec_compressed()
        .unwrap();
        let query = query(Kind::A);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % (below as u64)).unwrap()
        };
        for _ in 0..50_000 {
            let mut bytes = good.clone();
            for _ in 0..=next(6) {
                let at = next(bytes.len());
                bytes[at] = u8::try_from(next(256)).unwrap();
            }
            bytes.truncate(next(bytes.len() + 1));
            let _ = query.read(&bytes);
        }
        for cut in 0..good.len() {
            let _ = query.read(&good[..cut]);
        }
    }

    #[test]
    fn a_count_beyond_the_message_is_refused_before_room_is_made_for_it() {
        let mut bytes = reply(vec![a("api.example.com", 1)])
            .build_bytes_vec()
            .unwrap();
        bytes[6..8].copy_from_slice(&[0xff, 0xff]);
        assert!(matches!(
            query(Kind::A).read(&bytes),
            Some(Answer::Failed(_))
        ));
    }
}
