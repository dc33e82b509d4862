//! `POST /v1/tickets`, `POST /v1/tickets/{id}/replies`.

use broker::Outgoing;
use entity::ticket;
use schemas::ticket::{
    Category, Priority, ReplyRequest, TicketRaise, TicketReply, TicketRequest, reply_id, sha256_of,
    ticket_id,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;
use warp::reply::Response;

use crate::accept::{self, Asked, PUBLISHER};
use crate::call::Call;
use crate::error::ApiError;
use crate::fields::Fields;

/// Accepts a ticket.
pub(super) async fn raise(call: Call) -> Result<Response, ApiError> {
    let account_id = call.account()?;
    let request = parse(call.fields()?)?;
    let key = accept::one_key(&call, request.external_ref.as_ref())?;
    let id = ticket_id(account_id, key.as_ref());
    let asked = Asked {
        id,
        keyed: key.is_some(),
        sha256: sha256_of(&request),
        location: format!("/v1/tickets/{id}"),
        stored: &call.state.ticket_events,
    };
    accept::accept(&call, asked, |raised_at| {
        let raise = TicketRaise {
            ticket_id: Some(id),
            account_id,
            raised_at: Some(raised_at),
            request,
        };
        Outgoing::entry(PUBLISHER, id, id, &raise)
    })
    .await
}

/// Accepts a reply.
pub(super) async fn reply(call: Call) -> Result<Response, ApiError> {
    let (ticket_id, account_id) = (call.id("ticket")?, call.account()?);
    must_exist(&call, ticket_id, account_id).await?;
    let request = parse_reply(call.fields()?)?;
    let key = accept::one_key(&call, request.external_ref.as_ref())?;
    let id = reply_id(account_id, key.as_ref());
    let asked = Asked {
        id,
        keyed: key.is_some(),
        sha256: sha256_of(&request),
        location: format!("/v1/tickets/{ticket_id}"),
        stored: &call.state.ticket_events,
    };
    accept::accept(&call, asked, |written_at| {
        let reply = TicketReply {
            reply_id: Some(id),
            account_id,
            ticket_id,
            written_at: Some(written_at),
            request,
        };
        Outgoing::entry(PUBLISHER, id, ticket_id, &reply)
    })
    .await
}

/// # Errors
/// 404 when the account has no such ticket, not even one that was accepted a moment ago.
async fn must_exist(call: &Call, id: Uuid, account_id: Uuid) -> Result<(), ApiError> {
    let found = ticket::Entity::find_by_id(id)
        .filter(ticket::Column::AccountId.eq(account_id))
        .one(&call.state.db)
        .await?;
    match found.is_some() || call.state.accepted.find(id, account_id).await.is_some() {
        true => Ok(()),
        false => Err(ApiError::not_found("ticket")),
    }
}

fn parse(mut fields: Fields) -> Result<TicketRequest, ApiError> {
    let subject = fields.required("subject");
    let message = fields.required("message");
    let priority = fields.optional("priority").unwrap_or(Priority::Normal);
    let category = fields.optional("category").unwrap_or(Category::General);
    let order_id = fields.id("order_id");
    let resource_id = fields.id("resource_id");
    let invoice_id = fields.id("invoice_id");
    let attachments = fields.attachments("attachments");
    let external_ref = fields.optional("external_ref");
    let request = subject
        .zip(message)
        .map(|(subject, message)| TicketRequest {
            subject,
            message,
            priority,
            category,
            order_id,
            resource_id,
            invoice_id,
            attachments,
            external_ref,
        });
    fields.finish(request)
}

fn parse_reply(mut fields: Fields) -> Result<ReplyRequest, ApiError> {
    let request = ReplyRequest {
        message: fields.optional("message"),
        attachments: fields.attachments("attachments"),
        then: fields.optional("then"),
        external_ref: fields.optional("external_ref"),
    };
    if request.message.is_none() && request.then.is_none() && !fields.is_wrong() {
        fields.wrong("message", "must be there, unless there is then");
    }
    if request.message.is_none() && !request.attachments.is_empty() && !fields.is_wrong() {
        fields.wrong("message", "must be there, since there are attachments");
    }
    fields.finish(Some(request))
}
