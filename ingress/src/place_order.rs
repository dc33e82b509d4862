//! `POST /v1/orders`.

use broker::Outgoing;
use schemas::order::{MAX_QUANTITY, OrderPlace, OrderRequest, order_id};
use warp::reply::Response;

use crate::accept::{self, Asked, PUBLISHER};
use crate::call::Call;
use crate::error::ApiError;
use crate::fields::Fields;

/// Accepts an order.
pub(crate) async fn place(call: Call) -> Result<Response, ApiError> {
    let account_id = call.account()?;
    let request = parse(call.fields()?)?;
    let key = accept::key(&call, request.external_ref.as_ref())?;
    let id = order_id(account_id, key.as_ref());
    let asked = Asked {
        id,
        keyed: key.is_some(),
        sha256: request.sha256(),
        location: format!("/v1/orders/{id}"),
        stored: &call.state.orders,
    };
    accept::accept(&call, asked, |placed_at| {
        let place = OrderPlace {
            order_id: Some(id),
            account_id,
            placed_at: Some(placed_at),
            request,
        };
        Outgoing::entry(PUBLISHER, id, id, &place)
    })
    .await
}

fn parse(mut fields: Fields) -> Result<OrderRequest, ApiError> {
    let offering = fields.required("offering");
    let plan = fields.required("plan");
    let quantity = fields.integer("quantity", (1, MAX_QUANTITY), 1);
    let region = fields.required("region");
    let name = fields.required("name");
    let external_ref = fields.optional("external_ref");
    let request = (|| {
        Some(OrderRequest {
            offering: offering?,
            plan: plan?,
            quantity: quantity?,
            region: region?,
            name: name?,
            external_ref,
        })
    })();
    fields.finish(request)
}
