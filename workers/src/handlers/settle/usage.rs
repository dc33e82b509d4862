//! Reads the meters of one resource at its provider.

use anyhow::Context;
use broker::{Envelope, Failure, Handled, Handler, Next, crash_point};
use schemas::invoice::InvoiceSettle;
use schemas::provision::UsageRead;
use schemas::topology::WorkQueue;
use sea_orm::DatabaseConnection;

use super::Waiting;
use crate::handlers::{missing, permanent, show_failure};
use crate::provider::{Provider, ProviderError};
use crate::store::{self, requests, resources, stages, usage};

/// Consumes `usage.read.v1` of one provider.
pub(crate) struct ReadUsage {
    pub(crate) db: DatabaseConnection,
    pub(crate) provider: Provider,
    pub(crate) queue: WorkQueue,
}

impl Handler for ReadUsage {
    type Message = UsageRead;

    fn queue(&self) -> WorkQueue {
        self.queue
    }

    async fn handle(&self, message: &Envelope<UsageRead>) -> Handled {
        let UsageRead {
            request_id,
            resource_id,
            ..
        } = message.body;
        let resource = resources::find(&self.db, resource_id).await;
        let resource = resource.context("find the resource")?;
        let resource = resource.ok_or_else(|| missing("resource", resource_id))?;
        let known = usage::readings(&self.db, request_id, std::slice::from_ref(&resource)).await;
        if known.context("look for a reading")?.is_empty() {
            let said = match &resource.external_id {
                Some(external_id) => self.provider.usage(external_id).await,
                None => Ok(Vec::new()),
            };
            let said = match said {
                Ok(said) => said,
                // What is gone says nothing more.
                Err(ProviderError::Gone) => Vec::new(),
                Err(ProviderError::RateLimited(pause)) => {
                    let error = ProviderError::RateLimited(pause);
                    return Err(Failure::RateLimited(pause, error.into()));
                }
                Err(error @ ProviderError::Rejected { .. }) => {
                    return Err(permanent("provider_rejected", error));
                }
                Err(error) => return Err(Failure::Transient(error.into())),
            };
            let transaction = store::begin(&self.db).await?;
            let at = store::now(&transaction).await?;
            usage::read(&transaction, request_id, resource_id, &said, at).await?;
            transaction.commit().await.context("store the reading")?;
            crash_point("usage.stored");
        }
        let row = requests::find(&self.db, request_id).await;
        let row = row.context("find the request")?;
        let row = row.ok_or_else(|| missing("request", request_id))?;
        // Whoever stores the last one sees all the others: the invoice can be issued.
        let last = Waiting::of(&self.db, &row).await?.unread(&row)?.is_empty();
        let settle = InvoiceSettle { request_id };
        let settle = last.then(|| message.follow_up(&settle));
        Ok(settle.into_iter().collect())
    }

    async fn failed(&self, message: &Envelope<UsageRead>, error: &str, next: Next) {
        let id = message.body.request_id;
        show_failure(&self.db, id, stages::SETTLE, error, next).await;
    }
}
