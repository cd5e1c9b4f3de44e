//! Channels: a worker names the sender of a message, for its own channel only, and learns what becomes of it.

use std::borrow::Cow;

use clawdbot_identity::{
    AgentId, CHANNELS, Handle, InstanceName, MessageId, Principal, Role, principal,
};
use clawdbot_proto::v1;
use clawdbot_proto::v1::admit_sender_reply::Outcome;
use clawdbot_proto::v1::channels_server::Channels;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};

use super::standing::channel_of;
use super::{Services, UNDECIDED, invalid, undecided, wire_class};
use crate::admission::{self, Message, Person, Place, Verdict};
use crate::denied::Denied;
use crate::handle::{Grant, Written};
use crate::pairing::{self, Asked, Book};
use crate::policy::{InForce, random, unix_ms, unix_seconds};
use crate::record::Decision;

/// Other ids of one person or conversation that a worker may name.
const MAX_ALSO: usize = 4;

/// What a permitted message gets, or what to answer to its sender.
enum Passed {
    Admission(v1::Admission),
    Answer(String),
}

#[tonic::async_trait]
impl Channels for Services {
    async fn admit(
        &self,
        request: Request<v1::AdmitSenderRequest>,
    ) -> Result<Response<v1::AdmitSenderReply>, Status> {
        let role = caller(&request)?;
        let channel = role
            .name()
            .ok_or_else(|| Status::permission_denied("only channel workers name senders"))?;
        let request = request.into_inner();
        let asked = Asking::parse(&channel, &request)?;
        let subject = format!("{channel}/{}/{}", request.account, asked.id);
        let outcome = self.inbound(&role, &channel, &asked, &subject).await;
        let outcome = match outcome {
            Ok(Passed::Admission(admission)) => Outcome::Admission(admission),
            Ok(Passed::Answer(text)) => Outcome::Answer(text),
            Err(denied) if UNDECIDED.contains(&denied.rule) => return Err(undecided(denied)),
            Err(denied) => Outcome::Ignored(denied.into()),
        };
        Ok(Response::new(v1::AdmitSenderReply {
            outcome: Some(outcome),
        }))
    }
}

/// A request whose ids have their form, each in its one spelling.
struct Asking<'a> {
    account: &'a str,
    event: MessageId,
    kind: v1::ConversationKind,
    /// The conversation's, the first one before the others.
    chats: Vec<String>,
    thread: &'a str,
    /// The sender's.
    id: String,
    also: Vec<String>,
    sender: &'a v1::Sender,
    username: Cow<'a, str>,
    request: &'a v1::AdmitSenderRequest,
}

impl<'a> Asking<'a> {
    fn parse(channel: &InstanceName, request: &'a v1::AdmitSenderRequest) -> Result<Self, Status> {
        let wrong =
            |what| Status::invalid_argument(format!("{what} does not have this channel's form"));
        let name = channel.as_str();
        if !CHANNELS.contains(&name) {
            return Err(Status::unimplemented("there is no such channel"));
        }
        let event = MessageId::parse(&request.event_id).map_err(invalid)?;
        AgentId::parse(&request.account).map_err(|_| wrong("the account"))?;
        let sender = request.sender.as_ref().ok_or_else(|| wrong("the sender"))?;
        let person = |id: &String| Principal::wire(name, id).map(|own| own.form()).ok();
        let id = person(&sender.id).ok_or_else(|| wrong("the sender's id"))?;
        let also = all(&sender.also, person).ok_or_else(|| wrong("another id of the sender"))?;
        let place = request
            .conversation
            .as_ref()
            .ok_or_else(|| wrong("the conversation"))?;
        let kind = place.kind();
        let chat = |id: &String| {
            let group = principal::group(name, id).ok();
            // A direct conversation may be called like the person in it.
            match kind {
                v1::ConversationKind::Direct => group.or_else(|| person(id)),
                _ => group,
            }
        };
        let mut chats = vec![chat(&place.id).ok_or_else(|| wrong("the conversation's id"))?];
        chats
            .extend(all(&place.also, chat).ok_or_else(|| wrong("another id of the conversation"))?);
        if kind == v1::ConversationKind::Unspecified {
            return Err(wrong("the kind of conversation"));
        }
        if !(place.thread.is_empty() || principal::is_thread(name, &place.thread)) {
            return Err(wrong("the thread"));
        }
        // Lists hold names in lower case; a name with anything else in it is on none.
        let username = sender.username.trim_start_matches('@');
        let username = match username.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Cow::Owned(username.to_ascii_lowercase()),
            false => Cow::Borrowed(username),
        };
        Ok(Self {
            account: &request.account,
            event,
            kind,
            chats,
            thread: &place.thread,
            id,
            also,
            sender,
            username,
            request,
        })
    }

    /// What the sender says himself: of words that are somebody else's nothing.
    fn own(&self) -> &str {
        match self.request.forwarded {
            true => "",
            false => &self.request.text,
        }
    }

    fn written(&self) -> Written {
        Written {
            account: self.account.to_owned(),
            username: self.username.to_string(),
            group: self.kind == v1::ConversationKind::Group,
            thread: self.thread.to_owned(),
            chats: self.chats.clone(),
            also: self.also.clone(),
        }
    }

    fn message(&self) -> Message<'_> {
        Message {
            account: self.account,
            place: match self.kind {
                v1::ConversationKind::Group => Place::Group {
                    id: &self.chats[0],
                    thread: self.thread,
                },
                _ => Place::Direct,
            },
            chats: &self.chats,
            sender: Person {
                id: &self.id,
                also: &self.also,
                username: &self.username,
                is_bot: self.sender.is_bot,
                is_anonymous: self.sender.is_anonymous,
            },
            mentioned: self.request.mentioned,
            replies_to_bot: self.request.replies_to_bot,
            marks_mentions: self.request.marks_mentions,
            backlog: self.request.backlog,
            text: self.own(),
        }
    }
}

fn all(ids: &[String], read: impl Fn(&String) -> Option<String>) -> Option<Vec<String>> {
    (ids.len() <= MAX_ALSO)
        .then(|| ids.iter().map(read).collect())
        .flatten()
}

impl Services {
    async fn inbound(
        &self,
        role: &Role,
        channel: &InstanceName,
        asked: &Asking<'_>,
        subject: &str,
    ) -> Result<Passed, Denied> {
        let verdict = self
            .0
            .current()
            .and_then(|current| self.judge(&current, channel, asked));
        let decision = Decision {
            request: "inbound",
            role: role.as_str(),
            subject,
            id: asked.event.as_str(),
            ..Decision::default()
        };
        match verdict {
            Ok(Verdict::Admit {
                class,
                session,
                standing,
            }) => {
                let trace = match super::access::trace() {
                    Ok(trace) => trace,
                    Err(denied) => return self.0.decide(decision, Err(denied)),
                };
                let key = session.to_string();
                let decision = Decision {
                    session: &key,
                    trace,
                    ..decision
                };
                match self.command(channel.as_str(), &asked.id, asked.own(), standing) {
                    Ok(None) => {}
                    Ok(Some(answer)) => {
                        let decision = Decision {
                            request: "command",
                            ..decision
                        };
                        self.0.decide(decision, Ok(()))?;
                        return Ok(Passed::Answer(answer));
                    }
                    Err(denied) => return self.0.decide(decision, Err(denied)),
                }
                self.0.decide(decision, Ok(()))?;
                let grant = Grant::channel(role.clone(), class, session, standing, unix_seconds())
                    .of(trace, &asked.id);
                let grant = Grant {
                    written: asked.written(),
                    ..grant
                };
                let provenance = &self.0.provenance;
                if asked.request.forwarded || asked.request.quoted {
                    provenance.forwarded(&grant).await?;
                }
                provenance.said(&grant, asked.own(), self.has_commands());
                Ok(Passed::Admission(v1::Admission {
                    handle: grant.seal(&self.0.handles),
                    class: wire_class(class).into(),
                    session_key: key,
                    trace: trace.to_string(),
                    // Who is who is the gateway's business alone.
                    mark: String::new(),
                }))
            }
            Ok(Verdict::Pair { name }) => match self.ask(channel, asked, name).await {
                Ok(code) => {
                    let required: Result<(), _> = Err(Denied::new(
                        "pairing.required",
                        "the sender has to be approved first",
                    ));
                    let decision = Decision {
                        request: "pairing-request",
                        ..decision
                    };
                    // A refusal stands without its line, too.
                    let _ = self.0.decide(decision, required);
                    Ok(Passed::Answer(pairing::answer(
                        channel.as_str(),
                        &asked.id,
                        &code,
                    )))
                }
                Err(denied) => self.0.decide(decision, Err(denied)),
            },
            Ok(Verdict::Ignore(denied)) | Err(denied) => self.0.decide(decision, Err(denied)),
        }
    }

    fn judge(
        &self,
        current: &InForce,
        channel: &InstanceName,
        asked: &Asking<'_>,
    ) -> Result<Verdict, Denied> {
        let settings = &current.settings;
        let channel = channel_of(settings, channel.as_str(), asked.account)?;
        let message = asked.message();
        match self.0.people.book() {
            Ok(book) => {
                let view = book.view(
                    channel.name,
                    asked.account,
                    unix_ms(),
                    settings.approval_ttl,
                );
                Ok(admission::judge(settings, channel, &view, &message))
            }
            // Whom the configuration itself lets in does not depend on the book.
            Err(denied) => {
                let nobody = Book::default();
                let view = nobody.view(channel.name, asked.account, 0, None);
                match admission::judge(settings, channel, &view, &message) {
                    Verdict::Pair { .. } => Err(denied),
                    other => Ok(other),
                }
            }
        }
    }

    /// The code of a new request.
    async fn ask(
        &self,
        channel: &InstanceName,
        asked: &Asking<'_>,
        name: Option<String>,
    ) -> Result<String, Denied> {
        let request = pairing::Request {
            channel: channel.to_string(),
            account: asked.account.to_owned(),
            sender: asked.id.clone(),
            hint: pairing::hint(&asked.sender.display, &asked.username),
            name,
            event: asked.event.to_string(),
        };
        let now = unix_ms();
        let known = self.0.people.book()?.known(&request, now);
        let answer = match known {
            Some(known) => known,
            None => {
                let changed = self
                    .0
                    .people
                    .change(move |book| book.ask(request, now, random))
                    .await;
                self.0.renew_problems();
                changed?.map_err(|error| Denied::new("system.random", error.to_string()))?
            }
        };
        match answer {
            Asked::New(code) => Ok(code),
            Asked::Known => Err(Denied::new(
                "pairing.pending",
                "the sender waits for approval already",
            )),
            Asked::Full => Err(Denied::new(
                "pairing.full",
                "as many senders as may are waiting for approval on this account",
            )),
        }
    }

    /// What the handle that a channel worker brought stands for.
    pub(super) fn presented(
        &self,
        request: &v1::PresentRequest,
        role: &Role,
    ) -> Result<Result<v1::Admission, Denied>, Status> {
        let handle = Handle::parse(&request.handle).map_err(invalid)?;
        let door = Role::parse(&request.channel).map_err(invalid)?;
        if door.family() != "channel" {
            return Err(Status::invalid_argument(
                "only channel workers bring handles",
            ));
        }
        let grant = self.session_at(&handle, &door);
        let (session, trace) = (super::key_of(&grant), super::trace_of(&grant));
        let decision = Decision {
            request: "present",
            role: role.as_str(),
            session: &session,
            subject: door.as_str(),
            trace,
            ..Decision::default()
        };
        let outcome = self.0.decide(decision, grant);
        if let Err(denied) = &outcome
            && UNDECIDED.contains(&denied.rule)
        {
            return Err(undecided(denied.clone()));
        }
        Ok(outcome.map(|grant| v1::Admission {
            handle: request.handle.clone(),
            class: wire_class(grant.class).into(),
            session_key: session,
            trace: grant.trace.to_string(),
            mark: grant.mark(&self.0.handles),
        }))
    }
}
