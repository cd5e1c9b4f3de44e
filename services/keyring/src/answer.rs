//! From the bytes of a request to the bytes of its answer. A request that is not understood does not reach the keyring.

use clawdbot_proto::v1::{KeyringReply, KeyringRequest, keyring_reply::Outcome};
use prost::Message;
use zeroize::Zeroizing;

/// Length of a key, bytes.
pub(crate) const KEY: usize = 32;

/// What the broker wants.
pub(crate) enum Wish {
    /// The key of a vault.
    Fetch {
        /// The vault's id.
        vault: String,
        /// Nobody is asked to unlock the keyring.
        #[cfg_attr(target_os = "macos", allow(dead_code, reason = "the Keychain decides"))]
        quiet: bool,
    },
    /// To keep the key of a new vault.
    Keep {
        /// The vault's id.
        vault: String,
        /// Its key.
        key: Zeroizing<Vec<u8>>,
    },
}

/// The key that the keyring has afterwards, or nothing; or why it cannot be used, and the remedy.
pub(crate) type Fulfilled = Result<Option<Zeroizing<Vec<u8>>>, Trouble>;

/// Why the keyring cannot be used, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is none.
    #[cfg_attr(
        target_os = "macos",
        allow(dead_code, reason = "every Mac has a Keychain")
    )]
    Nowhere(String),
    /// There is one, and it is locked or does not do what it should.
    Unusable(String),
}

/// Answers a request with what `fulfil` makes of it.
pub(crate) async fn answer(
    request: &[u8],
    fulfil: impl AsyncFnOnce(Wish) -> Fulfilled,
) -> Zeroizing<Vec<u8>> {
    let fulfilled = match understand(request) {
        Ok(wish) => fulfil(wish).await,
        Err(why) => Err(Trouble::Unusable(why)),
    };
    let outcome = match fulfilled {
        Ok(Some(key)) if key.len() != KEY => {
            Outcome::Error("what the keyring holds for this vault is no key".to_owned())
        }
        Ok(Some(mut key)) => Outcome::Key(std::mem::take(&mut key)),
        Ok(None) => Outcome::Absent(true),
        Err(Trouble::Unusable(why)) => Outcome::Error(why),
        Err(Trouble::Nowhere(why)) => Outcome::Nowhere(why),
    };
    let mut reply = KeyringReply {
        outcome: Some(outcome),
    };
    let bytes = Zeroizing::new(reply.encode_length_delimited_to_vec());
    if let Some(Outcome::Key(key)) = reply.outcome.take() {
        drop(Zeroizing::new(key));
    }
    bytes
}

fn understand(request: &[u8]) -> Result<Wish, String> {
    let request = KeyringRequest::decode_length_delimited(request)
        .map_err(|error| format!("the keyring's helper does not understand the broker: {error}"))?;
    let key = Zeroizing::new(request.store);
    let (vault, quiet) = (request.vault_id, request.quiet);
    let is_id = vault.len() == 32 && vault.bytes().all(|b| b.is_ascii_hexdigit());
    match (is_id, key.len()) {
        (true, 0) => Ok(Wish::Fetch { vault, quiet }),
        (true, KEY) => Ok(Wish::Keep { vault, key }),
        _ => Err(
            "the broker asked the keyring's helper for something else than a vault's key"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(vault: &str, store: &[u8]) -> Vec<u8> {
        let request = KeyringRequest {
            vault_id: vault.to_owned(),
            store: store.to_vec(),
            quiet: true,
        };
        request.encode_length_delimited_to_vec()
    }

    async fn outcome(request: &[u8], fulfilled: Fulfilled) -> Outcome {
        let reply = answer(request, async |_| fulfilled).await;
        KeyringReply::decode_length_delimited(reply.as_slice())
            .unwrap()
            .outcome
            .unwrap()
    }

    fn id() -> String {
        "0f".repeat(16)
    }

    #[tokio::test]
    async fn a_request_becomes_a_wish_and_its_outcome_an_answer() {
        let key = Zeroizing::new(vec![7; KEY]);
        let (asked, given) = (request(&id(), b""), request(&id(), &key));
        answer(&asked, async |wish| {
            assert!(matches!(wish, Wish::Fetch { vault, quiet: true } if vault == id()));
            Ok(None)
        })
        .await;
        answer(&given, async |wish| {
            assert!(
                matches!(wish, Wish::Keep { vault, key } if vault == id() && key[..] == [7; KEY])
            );
            Ok(None)
        })
        .await;
        assert!(outcome(&asked, Ok(Some(key))).await == Outcome::Key(vec![7; KEY]));
        assert!(outcome(&asked, Ok(None)).await == Outcome::Absent(true));
        let why = || "locked".to_owned();
        assert!(outcome(&asked, Err(Trouble::Unusable(why()))).await == Outcome::Error(why()));
        assert!(outcome(&asked, Err(Trouble::Nowhere(why()))).await == Outcome::Nowhere(why()));
        let short = Ok(Some(Zeroizing::new(vec![7; KEY - 1])));
        assert!(matches!(outcome(&asked, short).await, Outcome::Error(_)));
    }

    #[tokio::test]
    async fn what_is_no_request_for_a_key_does_not_reach_the_keyring() {
        for bytes in [
            Vec::new(),
            b"\xff\xff".to_vec(),
            request("", b""),
            request("../../other", b""),
            request(&"zz".repeat(16), b""),
            request(&id(), b"short"),
        ] {
            let reply = answer(&bytes, async |_| panic!("it reached the keyring")).await;
            let reply = KeyringReply::decode_length_delimited(reply.as_slice()).unwrap();
            assert!(matches!(reply.outcome, Some(Outcome::Error(_))));
        }
    }
}
