//! Policy as far as the doctor asks it: a file of the system that does not load.

use std::path::Path;

use clawdbot_proto::v1;
use clawdbot_proto::v1::policy_operator_server::{PolicyOperator, PolicyOperatorServer};
use clawdbot_service::Router;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

struct Policy;

fn unasked<T>() -> Answer<T> {
    Err(Status::unimplemented("nobody asks this"))
}

#[tonic::async_trait]
impl PolicyOperator for Policy {
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
        unasked()
    }
    async fn health(&self, _: Request<v1::HealthRequest>) -> Answer<v1::HealthStatus> {
        unasked()
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

/// Answers on `socket`, which listens when this returns, until the test ends.
pub fn start(socket: &Path) {
    crate::fake::listen(
        socket,
        "policy",
        Router::new().add(PolicyOperatorServer::new(Policy)),
    );
}
