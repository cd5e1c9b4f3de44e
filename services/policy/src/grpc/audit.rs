//! AuditOperator: the audit log for the command line where it may not read the files itself. Whoever doubts this process
//! reads them without it.

use std::pin::Pin;

use clawdbot_audit::{Lines, Proof, Verdict, Wanted, verify};
use clawdbot_proto::v1;
use clawdbot_proto::v1::audit_operator_server::AuditOperator;
use clawdbot_service::caller;
use futures_util::stream::{self, Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::Services;
use super::operator::refusal;
use crate::audit::{first_key, forget_key};
use crate::policy::lock;
use crate::record::Decision;

#[tonic::async_trait]
impl AuditOperator for Services {
    type ShowStream = Pin<Box<dyn Stream<Item = Result<v1::AuditLine, Status>> + Send>>;

    async fn show(
        &self,
        request: Request<v1::ShowAuditRequest>,
    ) -> Result<Response<Self::ShowStream>, Status> {
        let v1::ShowAuditRequest {
            since_ms,
            role,
            trace,
        } = request.into_inner();
        let wanted = Wanted {
            since_ms,
            role,
            trace,
        };
        let folder = lock(&self.0.audit).folder().to_owned();
        let lines = Lines::new(&folder, wanted).map_err(failed)?;
        let batches = stream::unfold(Some(lines), async |lines| {
            let mut lines = lines?;
            // A disk may take its time; decisions go on meanwhile.
            let read = tokio::task::spawn_blocking(move || (lines.some(), lines)).await;
            let (some, lines) = match read {
                Ok((Ok(None), _)) => return None,
                Ok((Ok(Some(some)), lines)) => (Ok(some), Some(lines)),
                Ok((Err(error), _)) => (Err(failed(error)), None),
                Err(error) => (Err(Status::internal(error.to_string())), None),
            };
            let batch: Vec<_> = match some {
                Ok(some) => some
                    .into_iter()
                    .map(|(json, _)| Ok(v1::AuditLine { json }))
                    .collect(),
                Err(status) => vec![Err(status)],
            };
            Some((stream::iter(batch), lines))
        });
        Ok(Response::new(Box::pin(batches.flatten())))
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::AuditVerdict>, Status> {
        let role = caller(&request)?;
        let folder = lock(&self.0.audit).folder().to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let key = first_key(&folder)?;
            verify(
                &folder,
                &Proof {
                    key,
                    ..Proof::default()
                },
            )
        });
        let verdict = checked
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(failed)?;
        let mut verdict = wire(verdict);
        if request.into_inner().accept {
            let decision = Decision {
                request: "audit-accepted",
                role: role.as_str(),
                ..Decision::default()
            };
            verdict.accepted = self.0.accept_damage(&decision).map_err(refusal)?;
            self.0.synced().await.map_err(refusal)?;
        }
        Ok(Response::new(verdict))
    }

    async fn key(
        &self,
        request: Request<v1::AuditKeyRequest>,
    ) -> Result<Response<v1::AuditKey>, Status> {
        let role = caller(&request)?;
        let forget = request.into_inner().forget;
        let folder = lock(&self.0.audit).folder().to_owned();
        let key = first_key(&folder).map_err(failed)?;
        let decision = Decision {
            request: match forget {
                true => "audit-key-forgotten",
                false => "audit-key-shown",
            },
            role: role.as_str(),
            ..Decision::default()
        };
        self.0.decide(decision, Ok(())).map_err(refusal)?;
        let Some(key) = key else {
            return Ok(Response::new(v1::AuditKey::default()));
        };
        if forget {
            forget_key(&folder).map_err(failed)?;
        }
        Ok(Response::new(v1::AuditKey {
            key: key.text().to_string(),
        }))
    }
}

fn wire(verdict: Verdict) -> v1::AuditVerdict {
    let first = verdict.problems.into_iter().next();
    let (problem, file, line) = first.map_or_else(Default::default, |problem| {
        (problem.what, problem.file, problem.line)
    });
    v1::AuditVerdict {
        intact: problem.is_empty(),
        records: verdict.records,
        checkpoints: verdict.checkpoints,
        problem,
        file,
        line,
        accepted: false,
    }
}

#[allow(clippy::needless_pass_by_value)]
fn failed(error: std::io::Error) -> Status {
    Status::internal(format!("the audit log cannot be read: {error}"))
}
