//! The support's side of tickets, of every account: `GET /v1/staff/tickets`,
//! `GET /v1/staff/tickets/{id}`, `POST /v1/staff/tickets/{id}/actions`.

use std::str::FromStr;

use broker::Outgoing;
use chrono::Utc;
use entity::{attachment, ticket};
use schemars::JsonSchema;
use schemas::ticket::{Handling, HandlingRequest, TicketHandle, TicketStatus, sha256_of};
use schemas::values::{InvalidValue, Name};
use sea_orm::{ColumnTrait, Condition, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter};
use uuid::Uuid;
use warp::reply::Response;

use super::items::{staff_details, staff_item};
use super::shown::{filtered, told};
use crate::accept::{self, Asked};
use crate::call::Call;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::page::{Page, PageRequest};
use crate::reply;

/// `true`: chooses what is late.
#[derive(JsonSchema)]
#[schemars(inline, extend("enum" = ["true"]))]
pub(crate) struct Overdue(#[expect(dead_code, reason = "only its schema is used")] String);

impl FromStr for Overdue {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "true" => Ok(Self(text.to_owned())),
            _ => Err(InvalidValue("must be true".to_owned())),
        }
    }
}

/// Lists tickets.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    use ticket::Column;
    let mut query = call.query();
    let page = PageRequest::read(&mut query);
    let mut rows = filtered(&mut query);
    if let Some(account) = query.id("account_id") {
        rows = rows.filter(Column::AccountId.eq(account));
    }
    if let Some(assignee) = query.optional::<Name>("assignee") {
        rows = rows.filter(Column::Assignee.eq(assignee.as_str()));
    }
    if query.optional::<Overdue>("overdue").is_some() {
        let (now, over) = (Utc::now(), TicketStatus::Closed.as_str());
        let unanswered = Column::AnsweredAt
            .is_null()
            .and(Column::AnswerDueAt.lt(now));
        let unsolved = Column::ResolvedAt
            .is_null()
            .and(Column::ResolutionDueAt.lt(now));
        let late = Condition::any().add(unanswered).add(unsolved);
        rows = rows.filter(late).filter(Column::Status.ne(over));
    }
    let page = query.finish(page)?;
    let rows = page.of(rows, Column::CreatedAt, Column::Id);
    let rows = rows.all(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        staff_item,
    )))
}

/// Shows one ticket, with what only the support reads.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let ticket = find(&call).await?;
    let told = told(&call.state.db, ticket.id).await?;
    Ok(reply::ok(&staff_details(ticket, told)))
}

/// Accepts something that the support does.
pub(crate) async fn act(call: Call) -> Result<Response, ApiError> {
    let ticket_id = find(&call).await?.id;
    let by = call.caller()?.name.parse();
    let by = by.map_err(|_| ApiError::conflict("The API key has a name that nobody can have."))?;
    let request = parse(call.fields()?)?;
    uploaded(&call, request.attachments.ids()).await?;
    let key = accept::key(&call, None)?;
    let id = match &key {
        Some(key) => Uuid::new_v5(&ticket_id, format!("action/{key}").as_bytes()),
        None => Uuid::now_v7(),
    };
    let asked = Asked {
        id,
        keyed: key.is_some(),
        sha256: sha256_of(&request),
        location: format!("/v1/staff/tickets/{ticket_id}"),
        stored: &call.state.ticket_events,
    };
    accept::accept(&call, asked, |at| {
        let handle = TicketHandle {
            action_id: id,
            ticket_id,
            handling: Some(Handling { by, at, request }),
        };
        Outgoing::new(id, ticket_id, &handle)
    })
    .await
}

/// # Errors
/// 422 when a file is not there.
async fn uploaded(call: &Call, ids: &[Uuid]) -> Result<(), ApiError> {
    let there = attachment::Entity::find()
        .filter(attachment::Column::Id.is_in(ids.iter().copied()))
        .filter(attachment::Column::AccountId.eq(call.account()?))
        .count(&call.state.db)
        .await?;
    match usize::try_from(there) == Ok(ids.len()) {
        true => Ok(()),
        false => Err(ApiError::wrong_field(
            "attachments",
            "must be ids of POST /v1/staff/attachments",
        )),
    }
}

async fn find(call: &Call) -> Result<ticket::Model, ApiError> {
    let found = ticket::Entity::find_by_id(call.id("ticket")?)
        .one(&call.state.db)
        .await?;
    found.ok_or_else(|| ApiError::not_found("ticket"))
}

fn parse(mut fields: Fields) -> Result<HandlingRequest, ApiError> {
    let request = HandlingRequest {
        answer: fields.optional("answer"),
        note: fields.optional("note"),
        attachments: fields.attachments("attachments"),
        status: fields.optional("status"),
        priority: fields.optional("priority"),
        assignee: fields.optional("assignee"),
    };
    if request == HandlingRequest::default() && !fields.is_wrong() {
        let reason = "must be there, unless there is note, status, priority or assignee";
        fields.wrong("answer", reason);
    }
    let says = request.answer.is_some() || request.note.is_some();
    if !says && !request.attachments.is_empty() && !fields.is_wrong() {
        let reason = "must be there, or note, since there are attachments";
        fields.wrong("answer", reason);
    }
    fields.finish(Some(request))
}
