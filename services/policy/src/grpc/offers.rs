//! Offers: the executor asks which of its tools a session may see. What is offered is judged again when it is called.

use std::time::Duration;

use clawdbot_identity::{Handle, ToolName};
use clawdbot_proto::v1;
use clawdbot_proto::v1::offers_server::Offers;
use tonic::{Request, Response, Status};

use super::{Services, UNDECIDED, class, invalid, undecided};
use crate::admission::People;
use crate::handle::Grant;
use crate::pairing::Book;
use crate::policy::unix_ms;
use crate::settings::Settings;
use crate::tools::{self, Asker, Provider, Tool};

#[tonic::async_trait]
impl Offers for Services {
    async fn list(
        &self,
        request: Request<v1::OfferRequest>,
    ) -> Result<Response<v1::OfferReply>, Status> {
        let request = request.into_inner();
        let handle = Handle::parse(&request.handle).map_err(invalid)?;
        let class = class(request.caller_class)?;
        for tool in &request.tools {
            ToolName::parse(&tool.name).map_err(invalid)?;
        }
        let found = self.0.current().and_then(|current| {
            let grant = self.session(&handle, class)?;
            Ok((current, grant))
        });
        let (current, grant) = match found {
            Ok(found) => found,
            Err(denied) if UNDECIDED.contains(&denied.rule) => return Err(undecided(denied)),
            Err(denied) => {
                return Err(Status::permission_denied(format!(
                    "{}: {}",
                    denied.rule, denied.message
                )));
            }
        };
        self.0.catalogue.named(&request.tools);
        let allowed = self.asking(&current.settings, &grant, |asker| {
            let is_allowed = |tool: &&v1::NamedTool| {
                let groups = tool.facts.as_ref().map(|facts| facts.groups.as_slice());
                let tool = Tool {
                    name: &tool.name,
                    groups: groups.unwrap_or_default(),
                };
                tools::judge(&current.settings.tools, asker, tool).is_ok()
            };
            let allowed = request.tools.iter().filter(is_allowed);
            allowed.map(|tool| tool.name.clone()).collect()
        });
        Ok(Response::new(v1::OfferReply { allowed }))
    }
}

impl Services {
    /// Gives what the lists have to know of a session to `look`.
    pub(super) fn asking<T>(
        &self,
        settings: &Settings,
        grant: &Grant,
        look: impl FnOnce(&Asker<'_>) -> T,
    ) -> T {
        let provider = match settings.tools.knows_providers() {
            true => self.0.providers.of(grant.session.as_str()),
            false => None,
        };
        let channel = grant.door.name();
        let is_named = |name: &str| {
            let channel = channel.as_ref().map(|channel| channel.as_str());
            channel.is_some_and(|channel| self.is_named(settings, channel, &grant.sender, name))
        };
        look(&Asker {
            class: grant.class,
            session: &grant.session,
            sender: &grant.sender,
            provider: provider
                .as_deref()
                .map_or(Provider::Unknown, Provider::Known),
            is_named: &is_named,
        })
    }

    /// Whether a name was a sender's when the owner approved of it, on any account of the channel.
    pub(super) fn is_named(
        &self,
        settings: &Settings,
        channel: &str,
        sender: &str,
        name: &str,
    ) -> bool {
        let Some(channel) = settings.channel(channel) else {
            return false;
        };
        let book = self.0.people.book().unwrap_or_default();
        let (now, ttl): (u64, Option<Duration>) = (unix_ms(), settings.approval_ttl);
        let pinned = |book: &Book, account: &str| {
            let view = book.view(channel.name, account, now, ttl);
            view.pinned(name) == Some(sender)
        };
        let mut accounts = channel.accounts.iter();
        accounts.any(|account| pinned(&book, &account.wire.account))
    }
}
