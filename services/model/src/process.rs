//! How a model worker begins. One program serves every provider; the instance name says which. The only one that is there
//! yet is `builtin`, so every other name is refused for good, with what to do.

use clawdbot_identity::{InstanceName, Role};
use clawdbot_proto::v1::model_server::ModelServer;
use clawdbot_service::{Context, Router, ServeError, Start, StartError};

use crate::service::Builtin;

const BUILTIN: &str = "builtin";

/// What the worker has from before its confinement: nothing, so far.
pub struct Prepared(());

/// Checks that this build has a worker for the provider.
///
/// # Errors
/// Exit status 78 for a provider without a worker, and when the process is started as something else.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    provider(start.role().name()).map_err(StartError::config)?;
    Ok(Prepared(()))
}

fn provider(name: Option<InstanceName>) -> Result<(), String> {
    match name {
        Some(name) if name.as_str() == BUILTIN => Ok(()),
        Some(name) => Err(format!(
            "the worker for the model provider {name} is not there yet in this build; choose builtin/guide as \
             agents.defaults.model, or leave that key out"
        )),
        None => {
            Err("start this program with the name of a model provider, for example builtin".into())
        }
    }
}

/// Answers agents until the process should end.
///
/// # Errors
/// None of its own.
pub async fn serve(_: Prepared, context: Context) -> Result<(), ServeError> {
    let worker = Builtin::new(context.edge(&Role::policy()));
    context.ready("builtin/guide");
    context
        .serve(Router::new().add(ModelServer::new(worker)))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_provider_that_is_there_starts_and_another_is_named() {
        let name = |text| Some(InstanceName::parse(text).unwrap());
        assert_eq!(provider(name("builtin")), Ok(()));
        for other in ["anthropic", "openai", "ollama", "my-llm"] {
            let error = provider(name(other)).unwrap_err();
            assert!(
                error.contains(other) && error.contains("not there yet"),
                "{error}"
            );
        }
        assert!(provider(None).is_err());
    }
}
