//! The trust boundary: who published a message is what the broker validated, never what the body
//! says.

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Outgoing, Refused};
use schemas::event::MessageRejected;
use schemas::{Message, Problem, problem};
use sea_orm::DatabaseConnection;
use uuid::Uuid;

use crate::store::publishers;

use super::permanent;

/// Who may ask for what.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) db: DatabaseConnection,
    /// The broker users that are believed to speak for the account they name: the ingresses.
    pub(crate) trusted: Vec<String>,
}

impl Intake {
    /// Whether an ingress published it, which has checked who asks.
    pub(crate) fn is_trusted(&self, publisher: Option<&str>) -> bool {
        let publisher = publisher.unwrap_or_default();
        self.trusted.iter().any(|trusted| trusted == publisher)
    }

    /// Lets a partner system in, of which only the name is known, by the broker.
    ///
    /// # Errors
    /// Permanent, when it may not publish this kind, or not for this account.
    pub(crate) async fn admit<M: Message>(
        &self,
        message: &Envelope<M>,
        account_id: Uuid,
    ) -> Result<(), Failure> {
        let name = message.publisher.as_deref().unwrap_or_default();
        let publisher = publishers::find(&self.db, name).await;
        let publisher = publisher.context("find the publisher")?;
        let Some(publisher) = publisher.filter(|known| known.row.revoked_at.is_none()) else {
            let error = anyhow!(
                "{name:?} may publish nothing; property user_id must name a publisher, see flow publisher"
            );
            return Err(permanent("unauthenticated", error));
        };
        if !publisher.may_publish(M::KIND) || !publisher.accounts.contains(&account_id) {
            let error = anyhow!(
                "{name} may not publish {} for account {account_id}",
                M::KIND
            );
            return Err(permanent("forbidden", error));
        }
        Ok(())
    }

    /// What is said to a partner system whose message cannot be taken.
    pub(crate) fn refused(&self, refused: &Refused<'_>) -> Option<Outgoing> {
        let publisher = refused.publisher?;
        (!self.is_trusted(Some(publisher))).then(|| {
            let rejected = MessageRejected {
                publisher: publisher.to_owned(),
                message_id: refused.message_id.map(str::to_owned),
                message_type: refused.message_type.map(str::to_owned),
                problem: problem_of(refused.reason, refused.error),
            };
            Outgoing::once(refused.id, refused.correlation_id, &rejected)
        })
    }
}

/// What every message of a partner system needs: without it a repetition would be another request.
pub(crate) fn missing_reference() -> Failure {
    let error =
        anyhow!("request.external_ref is missing: it makes a repeated request the same one");
    permanent("schema", error)
}

/// What an ingress must say and did not.
pub(crate) fn unsaid(fields: &str) -> Failure {
    permanent("schema", anyhow!("an ingress must say {fields}"))
}

/// What a partner system reads when its message is refused.
fn problem_of(reason: &str, error: &str) -> Problem {
    let of = match reason {
        "unauthenticated" => problem::UNKNOWN_PUBLISHER,
        "forbidden" | "unknown_account" => problem::FORBIDDEN,
        "too_large" => problem::TOO_LARGE,
        _ => problem::INVALID_MESSAGE,
    };
    Problem::new(of, error)
}
