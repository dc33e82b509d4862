//! Takes in that an account asks for an invoice.

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Outgoing, Refused, crash_point};
use chrono::{DateTime, Utc};
use entity::request::{self, RequestStatus};
use schemas::event::RequestRejected;
use schemas::invoice::{InvoiceRequest, InvoiceSettle, request_id};
use schemas::ticket::sha256_of;
use schemas::topology::{self, WorkQueue};
use schemas::{Message, Problem, problem};
use uuid::Uuid;

use crate::handlers::intake::{Intake, missing_reference, unsaid};
use crate::handlers::permanent;
use crate::store::{self, catalog, requests, stages};

/// Consumes `invoice.request.v1`.
pub(crate) struct RequestInvoice {
    pub(crate) intake: Intake,
}

impl Handler for RequestInvoice {
    type Message = InvoiceRequest;

    fn queue(&self) -> WorkQueue {
        topology::INVOICE_REQUEST
    }

    async fn handle(&self, message: &Envelope<InvoiceRequest>) -> Handled {
        let (id, at) = self.admit(message).await?;
        let db = &self.intake.db;
        let asked = &message.body;
        let account = catalog::account(db, asked.account_id).await;
        let account = account.context("find the account")?;
        if account.is_none_or(|account| !account.active) {
            let error = anyhow!("there is no active account {}", asked.account_id);
            return Err(permanent("unknown_account", error));
        }
        let transaction = store::begin(db).await?;
        let accepted = Ok(RequestStatus::Accepted);
        requests::insert(&transaction, row(id, at, asked), accepted).await?;
        let row = requests::find(&transaction, id).await?;
        let row = row.context("the request that was just stored is gone")?;
        if row.request_sha256 != sha256_of(&asked.request) {
            let detail = "The request under this key asks for something else.";
            let rejected = RequestRejected {
                request_id: id,
                account_id: asked.account_id,
                kind: InvoiceRequest::KIND.to_owned(),
                subject_id: None,
                external_ref: asked.request.external_ref.clone(),
                problem: Problem::new(problem::KEY_REUSED, detail),
            };
            return Ok(vec![message.follow_up(&rejected)]);
        }
        stages::pending(&transaction, id, stages::SETTLE).await?;
        transaction.commit().await.context("store the request")?;
        crash_point("settle.stored");
        let settle = InvoiceSettle { request_id: id };
        Ok(vec![Outgoing::once(id, id, &settle)])
    }

    fn refused(&self, refused: &Refused<'_>) -> Option<Outgoing> {
        self.intake.refused(refused)
    }
}

impl RequestInvoice {
    async fn admit(
        &self,
        message: &Envelope<InvoiceRequest>,
    ) -> Result<(Uuid, DateTime<Utc>), Failure> {
        let asked = &message.body;
        if self.intake.is_trusted(message.publisher.as_deref()) {
            let said = asked.request_id.zip(asked.requested_at);
            return said.ok_or_else(|| unsaid("request_id and requested_at"));
        }
        self.intake.admit(message, asked.account_id).await?;
        let key = asked.request.external_ref.as_ref();
        let key = key.ok_or_else(missing_reference)?;
        let now = store::now(&self.intake.db).await;
        let now = now.context("ask for the time")?;
        Ok((request_id(asked.account_id, Some(key)), now))
    }
}

fn row(id: Uuid, at: DateTime<Utc>, asked: &InvoiceRequest) -> request::Model {
    let external_ref = asked.request.external_ref.as_ref();
    request::Model {
        id,
        account_id: asked.account_id,
        kind: InvoiceRequest::KIND.to_owned(),
        subject_id: None,
        external_ref: external_ref.map(ToString::to_string),
        request_sha256: sha256_of(&asked.request),
        status: RequestStatus::Accepted,
        note: None,
        requested_by: None,
        result_id: None,
        problem: None,
        trace_id: broker::current_trace_id(),
        requested_at: at,
        decided_at: None,
    }
}
