//! Spending and Ledger: a model worker asks before each request and says afterwards what it used. What that costs is
//! worked out here; a worker's word counts only for the requests that it asked for itself.

use clawdbot_config::BUILTIN;
use clawdbot_identity::{Handle, InstanceName, MessageId, ModelRef};
use clawdbot_proto::v1;
use clawdbot_proto::v1::ledger_server::Ledger;
use clawdbot_proto::v1::spending_server::Spending;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};

use super::{Services, UNDECIDED, class, invalid, key_of, trace_of, undecided, wire_session};
use crate::budget::{Told, Who};
use crate::denied::Denied;
use crate::facts;
use crate::handle::{Grant, Standing};
use crate::notices::{About, Notice, To};
use crate::policy::unix_ms;
use crate::record::Decision;
use crate::rules;
use crate::settings::Settings;

/// The longest answer of a model of which nothing is known, tokens.
const ANSWER: u64 = 8192;

#[tonic::async_trait]
impl Spending for Services {
    async fn authorize(
        &self,
        request: Request<v1::AuthorizeRequest>,
    ) -> Result<Response<v1::AuthorizeReply>, Status> {
        let role = caller(&request)?;
        let worker = role
            .name()
            .ok_or_else(|| Status::permission_denied("only model workers spend"))?;
        let request = request.into_inner();
        let handle = Handle::parse(&request.handle).map_err(invalid)?;
        let class = class(request.caller_class)?;
        let model = ModelRef::parse(&request.model).map_err(invalid)?;
        let id = MessageId::parse(&request.request_id).map_err(invalid)?;
        let grant = self.session(&handle, class);
        let (session, trace) = (key_of(&grant), trace_of(&grant));
        let outcome = match grant {
            Ok(grant) => {
                let asked = self.spend(&grant, &worker, &model, &request).await;
                asked.map(|settle| (grant, settle))
            }
            Err(denied) => Err(denied),
        };
        let decision = Decision {
            request: "model",
            role: role.as_str(),
            session: &session,
            subject: model.as_str(),
            id: id.as_str(),
            trace,
            ..Decision::default()
        };
        use v1::authorize_reply::Outcome;
        let (outcome, settle) = match self.0.decide(decision, outcome) {
            Ok((grant, settle)) => (Outcome::Allowed(wire_session(&grant)), settle),
            Err(denied) => (Outcome::Refusal(denied.into()), false),
        };
        Ok(Response::new(v1::AuthorizeReply {
            outcome: Some(outcome),
            settle,
        }))
    }
}

#[tonic::async_trait]
impl Ledger for Services {
    async fn settle(
        &self,
        request: Request<v1::SettleSpendingRequest>,
    ) -> Result<Response<v1::Done>, Status> {
        let role = caller(&request)?;
        let worker = role
            .name()
            .ok_or_else(|| Status::permission_denied("only model workers spend"))?;
        let request = request.into_inner();
        let handle = Handle::parse(&request.handle).map_err(invalid)?;
        let class = class(request.caller_class)?;
        let model = ModelRef::parse(&request.model).map_err(invalid)?;
        let id = MessageId::parse(&request.request_id).map_err(invalid)?;
        let found = self.opened(&handle, class).and_then(|grant| {
            rules::model(&worker, &model)?;
            Ok((grant, self.0.current()?))
        });
        let (grant, current) = match found {
            Ok(found) => found,
            Err(denied) if UNDECIDED.contains(&denied.rule) => return Err(undecided(denied)),
            Err(denied) => return Err(Status::permission_denied(denied.message)),
        };
        let used = request.usage.unwrap_or_default();
        let tokens = used.input_tokens.saturating_add(used.output_tokens);
        let cost = match price(&current.settings, &model) {
            Some(price) => cost(&used, &price),
            None => used.cost_microusd.unwrap_or_default(),
        };
        let id = held_as(&worker, id.as_str());
        self.0
            .budgets
            .settle(grant.session.as_str(), &id, tokens, cost);
        Ok(Response::new(v1::Done {}))
    }
}

impl Services {
    /// Permits a request, and says whether it has to be settled.
    async fn spend(
        &self,
        grant: &Grant,
        worker: &InstanceName,
        model: &ModelRef,
        request: &v1::AuthorizeRequest,
    ) -> Result<bool, Denied> {
        rules::model(worker, model)?;
        let current = self.0.current()?;
        let settings = &current.settings;
        let provider = model.provider().as_str();
        let limits = settings.budgets.of(grant.session.agent());
        // The guide costs nothing.
        let counts = !limits.is_empty() && provider != BUILTIN;
        if counts {
            let most = v1::Usage {
                // Putting something into a cache costs more than reading it.
                input_tokens: request.input_tokens,
                cache_write_tokens: request.input_tokens,
                output_tokens: longest(settings, model, request.max_output_tokens),
                ..v1::Usage::default()
            };
            let tokens = most.input_tokens.saturating_add(most.output_tokens);
            let cost = price(settings, model).map_or(0, |price| cost(&most, &price));
            let id = held_as(worker, &request.request_id);
            let asked = self
                .0
                .budgets
                .authorize(limits, self.who(grant), &id, tokens, cost);
            if let Err(stopped) = asked.await {
                if let Some(told) = &stopped.notice {
                    self.tell_owner(told, grant.standing != Standing::Owner);
                }
                return Err(stopped.denied);
            }
        }
        self.0.providers.asked(grant.session.as_str(), provider);
        Ok(counts)
    }

    fn tell_owner(&self, told: &Told, by_others: bool) {
        let reached = self.0.notices.tell(Notice {
            about: About::Budget(told.name.clone()),
            to: To::Owners,
            text: told.text.clone(),
            expires_ms: told.expires_ms,
            by_others,
        });
        if reached > 0 {
            self.0.budgets.told(told);
        }
    }

    /// For whom budgets are asked, now.
    pub(super) fn who<'g>(&self, grant: &'g Grant) -> Who<'g> {
        Who {
            grant,
            now_ms: unix_ms(),
            steady: self.0.now(),
        }
    }
}

/// A request under its worker's name: no other worker can settle it.
fn held_as(worker: &InstanceName, request: &str) -> String {
    format!("{worker} {request}")
}

fn facts_of<'s>(settings: &'s Settings, model: &ModelRef) -> Option<&'s v1::ModelFacts> {
    let mut models = settings.models.iter();
    models.find(|facts| facts.model == model.as_str())
}

fn price(settings: &Settings, model: &ModelRef) -> Option<v1::Price> {
    match facts_of(settings, model) {
        Some(facts) => facts.price,
        None => facts::known(model.provider().as_str(), model.model())?.price,
    }
}

/// Tokens that an answer has at most.
fn longest(settings: &Settings, model: &ModelRef, asked: u64) -> u64 {
    let configured = facts_of(settings, model).map(|facts| facts.max_output_tokens);
    let known = || facts::known(model.provider().as_str(), model.model()).map(|known| known.output);
    let most = configured.or_else(known).map_or(0, u64::from);
    match (asked, most) {
        (0, 0) => ANSWER,
        (0, most) => most,
        (asked, _) => asked,
    }
}

/// What a request costs, in millionths of a US dollar, rounded up.
fn cost(usage: &v1::Usage, price: &v1::Price) -> u64 {
    let cached = usage
        .cache_read_tokens
        .saturating_add(usage.cache_write_tokens);
    let parts = [
        (usage.input_tokens.saturating_sub(cached), price.input),
        (usage.output_tokens, price.output),
        (usage.cache_read_tokens, price.cache_read),
        (usage.cache_write_tokens, price.cache_write.max(price.input)),
    ];
    let parts = parts.map(|(tokens, price)| u128::from(tokens) * u128::from(price));
    let total = parts.into_iter().fold(0, u128::saturating_add);
    u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
