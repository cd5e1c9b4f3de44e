//! Policy as far as the doctor, a chat and a login ask it: a file of the system that does not load unless a test gives its
//! settings, and what workers say.

use clawdbot_proto::v1;
use clawdbot_proto::v1::policy_operator_server::{PolicyOperator, PolicyOperatorServer};
use clawdbot_service::Router;
use tonic::{Request, Response, Status};

pub type Answer<T> = Result<Response<T>, Status>;

/// `health` answers what is known of the worker that is asked about.
struct Policy<H> {
    settings: &'static str,
    health: H,
}

pub fn unasked<T>() -> Answer<T> {
    Err(Status::unimplemented("nobody asks this"))
}

#[tonic::async_trait]
impl<H> PolicyOperator for Policy<H>
where
    H: Fn(&str) -> Answer<v1::HealthStatus> + Send + Sync + 'static,
{
    async fn status(&self, _: Request<v1::PolicyStatusRequest>) -> Answer<v1::PolicyStatus> {
        Ok(Response::new(v1::PolicyStatus {
            config_error: "clawdbot.json:1:14: unknown key".into(),
            ..v1::PolicyStatus::default()
        }))
    }

    async fn findings(&self, _: Request<v1::FindingsRequest>) -> Answer<v1::ConfigFindings> {
        let mistake = v1::ConfigMistake {
            message: "unknown key prot\u{1b}[2J".into(),
            line: 1,
            column: 14,
            path: "gateway.prot".into(),
            ..v1::ConfigMistake::default()
        };
        Ok(Response::new(v1::ConfigFindings {
            path: "/etc/clawdbot/clawdbot.json".into(),
            mistakes: vec![mistake],
            ..v1::ConfigFindings::default()
        }))
    }

    async fn read_config(&self, _: Request<v1::ReadConfigRequest>) -> Answer<v1::ConfigText> {
        Ok(Response::new(v1::ConfigText {
            settings: self.settings.into(),
            ..v1::ConfigText::default()
        }))
    }
    async fn health(&self, request: Request<v1::HealthRequest>) -> Answer<v1::HealthStatus> {
        (self.health)(&request.into_inner().role)
    }
    async fn mint_login(&self, _: Request<v1::MintLoginRequest>) -> Answer<v1::MintLoginReply> {
        unasked()
    }
    async fn show_token(&self, _: Request<v1::ShowTokenRequest>) -> Answer<v1::Token> {
        unasked()
    }
    async fn rotate_token(&self, _: Request<v1::RotateTokenRequest>) -> Answer<v1::Token> {
        unasked()
    }
    async fn list_pairing(
        &self,
        _: Request<v1::ListPairingRequest>,
    ) -> Answer<v1::ListPairingReply> {
        unasked()
    }
    async fn approve_pairing(&self, _: Request<v1::PairingCode>) -> Answer<v1::PairingReply> {
        unasked()
    }
    async fn reject_pairing(&self, _: Request<v1::PairingCode>) -> Answer<v1::PairingReply> {
        unasked()
    }
    async fn revoke_pairing(
        &self,
        _: Request<v1::RevokePairingRequest>,
    ) -> Answer<v1::PairingReply> {
        unasked()
    }
}

/// Policy, with the settings as JSON, none when they do not load, and what it knows of workers by their roles.
pub fn router(
    settings: &'static str,
    health: impl Fn(&str) -> Answer<v1::HealthStatus> + Send + Sync + 'static,
) -> Router {
    Router::new().add(PolicyOperatorServer::new(Policy { settings, health }))
}
