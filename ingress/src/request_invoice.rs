//! `POST /v1/invoices`.

use broker::Outgoing;
use schemas::invoice::{InvoiceAsk, InvoiceRequest, request_id};
use schemas::ticket::sha256_of;
use warp::reply::Response;

use crate::accept::{self, Asked, PUBLISHER};
use crate::call::Call;
use crate::error::ApiError;
use crate::requests;

/// Accepts that the account asks for an invoice.
pub(crate) async fn request(call: Call) -> Result<Response, ApiError> {
    let account_id = call.account()?;
    let mut fields = call.fields()?;
    let external_ref = fields.optional("external_ref");
    let request = fields.finish(Some(InvoiceAsk { external_ref }))?;
    let key = accept::one_key(&call, request.external_ref.as_ref())?;
    let id = request_id(account_id, key.as_ref());
    let asked = Asked {
        id,
        keyed: key.is_some(),
        sha256: sha256_of(&request),
        location: requests::location(id),
        stored: &call.state.requests,
    };
    accept::accept(&call, asked, |requested_at| {
        let request = InvoiceRequest {
            request_id: Some(id),
            account_id,
            requested_at: Some(requested_at),
            request,
        };
        Outgoing::entry(PUBLISHER, id, id, &request)
    })
    .await
}
