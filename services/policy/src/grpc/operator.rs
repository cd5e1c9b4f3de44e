//! PolicyOperator: the command line over policy.sock. Nobody is counted or locked out here; the socket is the owner's.

use clawdbot_proto::v1;
use clawdbot_proto::v1::policy_operator_server::PolicyOperator;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};

use super::Services;
use crate::credential::Kind;
use crate::denied::{Denied, whole_seconds};
use crate::login;
use crate::pairing::{self, Book};
use crate::policy::{random, unix_ms};
use crate::record::Decision;
use crate::slices;

#[tonic::async_trait]
impl PolicyOperator for Services {
    async fn status(
        &self,
        _: Request<v1::PolicyStatusRequest>,
    ) -> Result<Response<v1::PolicyStatus>, Status> {
        let current = self.0.in_force().borrow().clone();
        let settings = current.as_ref().map(|current| &current.settings);
        let default =
            settings.and_then(|s| s.agents.iter().find(|agent| agent.id == s.default_agent));
        Ok(Response::new(v1::PolicyStatus {
            revision: current.as_ref().map_or(0, |current| current.revision),
            config_path: self.0.config.path().display().to_string(),
            config_exists: self.0.config_exists(),
            config_error: self
                .0
                .trouble()
                .map(|trouble| trouble.rendered)
                .unwrap_or_default(),
            listeners: settings
                .map(|s| slices::listeners(s, &self.0.place))
                .unwrap_or_default(),
            auth_mode: self
                .0
                .door()
                .mode()
                .map(|mode| mode.as_str().to_owned())
                .unwrap_or_default(),
            model: settings
                .zip(default)
                .map(|(settings, agent)| slices::effective_model(settings, agent))
                .unwrap_or_default(),
            problems: self.0.problems().borrow().clone(),
            budgets: settings
                .map(|settings| {
                    let agents = settings.agents.iter().map(|agent| &agent.id);
                    self.0.budgets.all(&settings.budgets, agents, unix_ms())
                })
                .unwrap_or_default(),
            audit: self.0.audit_trouble().unwrap_or_else(|| "ok".to_owned()),
            questions: u32::try_from(self.0.questions.list(unix_ms()).len()).unwrap_or(u32::MAX),
        }))
    }

    async fn read_config(
        &self,
        _: Request<v1::ReadConfigRequest>,
    ) -> Result<Response<v1::ConfigText>, Status> {
        self.config_text().await.map(Response::new)
    }

    async fn findings(
        &self,
        _: Request<v1::FindingsRequest>,
    ) -> Result<Response<v1::ConfigFindings>, Status> {
        Ok(Response::new(self.config_findings().await))
    }

    async fn mint_login(
        &self,
        request: Request<v1::MintLoginRequest>,
    ) -> Result<Response<v1::MintLoginReply>, Status> {
        let random = random().map_err(|error| Status::internal(error.to_string()))?;
        let minted = self
            .0
            .current()
            .and_then(|_| self.0.door().mint(random, self.0.now()));
        let code = self.recorded("mint-login", &request, minted)?;
        Ok(Response::new(v1::MintLoginReply {
            code,
            ttl_seconds: whole_seconds(login::TTL),
        }))
    }

    async fn show_token(
        &self,
        request: Request<v1::ShowTokenRequest>,
    ) -> Result<Response<v1::Token>, Status> {
        let token = self.recorded("show-token", &request, self.token())?;
        Ok(Response::new(token))
    }

    async fn rotate_token(
        &self,
        request: Request<v1::RotateTokenRequest>,
    ) -> Result<Response<v1::Token>, Status> {
        let may = self.token().and_then(|token| match token.source.as_str() {
            "generated" => Ok(()),
            "config" => Err(Denied::new(
                "token.configured",
                "the token is set in the configuration; change gateway.auth.token there",
            )),
            _ => Err(Denied::new(
                "token.configured",
                "the token comes from CLAWDBOT_GATEWAY_TOKEN; change it there and start again",
            )),
        });
        self.recorded("rotate-token", &request, may)?;
        self.0.synced().await.map_err(refusal)?;
        self.0.rotate().map_err(Status::internal)?;
        tracing::info!("the gateway token was replaced; every visit has ended");
        self.token().map(Response::new).map_err(refusal)
    }

    async fn health(
        &self,
        request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthStatus>, Status> {
        let role = request.into_inner().role;
        let report = self.0.health_of(&role);
        let current = self.0.current();
        Ok(Response::new(v1::HealthStatus {
            reported: report.is_some(),
            report,
            planned: current.is_ok_and(|current| slices::is_planned(&current.settings, &role)),
        }))
    }

    async fn list_pairing(
        &self,
        _: Request<v1::ListPairingRequest>,
    ) -> Result<Response<v1::ListPairingReply>, Status> {
        self.pairing().map(Response::new).map_err(refusal)
    }

    async fn approve_pairing(
        &self,
        request: Request<v1::PairingCode>,
    ) -> Result<Response<v1::PairingReply>, Status> {
        let role = caller(&request)?;
        let v1::PairingCode {
            channel,
            code,
            notify,
            owner,
        } = request.into_inner();
        let current = self.0.current().ok();
        let approve = move |book: &mut Book| {
            let (now, settings) = (unix_ms(), current.as_ref().map(|current| &current.settings));
            let pending = book.pending(now);
            let asked = { pending.iter() }
                .find(|row| row.channel == channel && row.what.code.eq_ignore_ascii_case(&code));
            if let (Some(row), Some(settings), false) = (asked, settings, owner)
                && let Some(list) = pairing::makes_owner(settings, row)
            {
                return Err(Denied::new(
                    "pairing.makes_owner",
                    pairing::owner_first(row, list),
                ));
            }
            let ttl = settings.and_then(|settings| settings.approval_ttl);
            book.approve(&channel, &code, now, ttl)
        };
        let name = "pairing-approve";
        if let Err(denied) = self.announce(name, &role, &approve) {
            return Ok(Response::new(v1::PairingReply {
                outcome: Some(v1::pairing_reply::Outcome::Refusal(denied.into())),
            }));
        }
        let reply = self.change_pairing(name, &role, true, approve).await?;
        if notify {
            self.welcome(&reply);
        }
        Ok(Response::new(reply))
    }

    async fn reject_pairing(
        &self,
        request: Request<v1::PairingCode>,
    ) -> Result<Response<v1::PairingReply>, Status> {
        let role = caller(&request)?;
        let v1::PairingCode { channel, code, .. } = request.into_inner();
        let reject = move |book: &mut Book| book.reject(&channel, &code, unix_ms());
        let reply = self
            .change_pairing("pairing-reject", &role, false, reject)
            .await;
        reply.map(Response::new)
    }

    async fn revoke_pairing(
        &self,
        request: Request<v1::RevokePairingRequest>,
    ) -> Result<Response<v1::PairingReply>, Status> {
        let role = caller(&request)?;
        let v1::RevokePairingRequest {
            channel,
            account,
            sender_id,
        } = request.into_inner();
        let revoke = move |book: &mut Book| book.revoke(&channel, &account, &sender_id);
        let reply = self
            .change_pairing("pairing-revoke", &role, false, revoke)
            .await;
        reply.map(Response::new)
    }
}

impl Services {
    fn token(&self) -> Result<v1::Token, Denied> {
        self.0.current()?;
        let credential = self
            .0
            .door()
            .credential()
            .ok_or_else(crate::door::no_config)?;
        match &credential.kind {
            Kind::Token { clear, source, .. } => Ok(v1::Token {
                token: clear.expose(|bytes| String::from_utf8_lossy(bytes).into_owned()),
                source: (*source).to_owned(),
            }),
            Kind::Password(_) => Err(Denied::new(
                "token.none",
                "the gateway asks for a password, so there is no token (gateway.auth.mode)",
            )),
        }
    }

    fn recorded<R, T>(
        &self,
        name: &'static str,
        request: &Request<R>,
        outcome: Result<T, Denied>,
    ) -> Result<T, Status> {
        let role = caller(request)?;
        let decision = Decision {
            request: name,
            role: role.as_str(),
            ..Decision::default()
        };
        self.0.decide(decision, outcome).map_err(refusal)
    }
}

/// The operator's calls have no refusal in their replies.
pub(super) fn refusal(denied: Denied) -> Status {
    Status::failed_precondition(denied.message)
}
