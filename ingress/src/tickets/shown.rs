//! `GET /v1/tickets`, `GET /v1/tickets/{id}`.

use std::collections::HashMap;

use entity::{attachment, ticket, ticket_attachment, ticket_event, ticket_message};
use schemas::ticket::{Category, Priority, TicketStatus};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, Select,
};
use uuid::Uuid;
use warp::reply::Response;

use super::items::{details, early, item};
use crate::State;
use crate::call::Call;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::page::{Page, PageRequest};
use crate::{reply, wait};

/// Lists the tickets of the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = call.query();
    let page = PageRequest::read(&mut query);
    let rows = filtered(&mut query);
    let page = query.finish(page)?;
    let rows = rows.filter(ticket::Column::AccountId.eq(call.account()?));
    let rows = page.of(rows, ticket::Column::CreatedAt, ticket::Column::Id);
    let rows = rows.all(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        item,
    )))
}

/// The tickets that the filters of a query choose.
pub(crate) fn filtered(query: &mut Fields) -> Select<ticket::Entity> {
    use ticket::Column;
    let mut rows = ticket::Entity::find();
    if let Some(status) = query.optional::<TicketStatus>("status") {
        rows = rows.filter(Column::Status.eq(status.as_str()));
    }
    if let Some(priority) = query.optional::<Priority>("priority") {
        rows = rows.filter(Column::Priority.eq(priority.as_str()));
    }
    if let Some(category) = query.optional::<Category>("category") {
        rows = rows.filter(Column::Category.eq(category.as_str()));
    }
    for (name, column) in [
        ("order_id", Column::OrderId),
        ("resource_id", Column::ResourceId),
        ("invoice_id", Column::InvoiceId),
    ] {
        if let Some(id) = query.id(name) {
            rows = rows.filter(column.eq(id));
        }
    }
    rows
}

/// Shows one ticket; with `Prefer: wait=N` when it has changed.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let (id, account) = (call.id("ticket")?, call.account()?);
    wait::for_change(&call, || show(&call.state, id, account)).await
}

/// Right after a ticket was accepted it may not be in the database yet.
async fn show(state: &State, id: Uuid, account: Uuid) -> Result<Response, ApiError> {
    let found = ticket::Entity::find_by_id(id).one(&state.db).await;
    let found = match found {
        Ok(Some(ticket)) if ticket.account_id == account => ticket,
        Ok(Some(_)) => return Err(ApiError::not_found("ticket")),
        unknown => {
            return match (state.accepted.find(id, account).await, unknown) {
                (Some(accepted_at), _) => Ok(reply::ok(&early(id, accepted_at))),
                (None, Err(error)) => Err(error.into()),
                (None, Ok(_)) => Err(ApiError::not_found("ticket")),
            };
        }
    };
    let told = told(&state.db, id).await?;
    Ok(reply::ok(&details(found, told)))
}

/// The files of each message, by its id.
pub(super) type Attached = HashMap<Uuid, Vec<attachment::Head>>;

/// Everything that was said in a ticket and done to it, oldest first.
pub(super) struct Told {
    pub(super) messages: Vec<ticket_message::Model>,
    pub(super) history: Vec<ticket_event::Model>,
    pub(super) attached: Attached,
}

/// What is told of a ticket.
pub(super) async fn told(db: &DatabaseConnection, id: Uuid) -> Result<Told, DbErr> {
    let messages = ticket_message::Entity::find()
        .filter(ticket_message::Column::TicketId.eq(id))
        .order_by_asc(ticket_message::Column::Version)
        .order_by_asc(ticket_message::Column::Internal)
        .all(db);
    let history = ticket_event::Entity::find()
        .filter(ticket_event::Column::TicketId.eq(id))
        .order_by_asc(ticket_event::Column::Version)
        .all(db);
    let messages = messages.await?;
    Ok(Told {
        attached: attached(db, &messages).await?,
        history: history.await?,
        messages,
    })
}

async fn attached(
    db: &DatabaseConnection,
    messages: &[ticket_message::Model],
) -> Result<Attached, DbErr> {
    let ids = messages.iter().map(|message| message.id);
    let links = ticket_attachment::Entity::find()
        .filter(ticket_attachment::Column::MessageId.is_in(ids))
        .order_by_asc(ticket_attachment::Column::Position)
        .all(db)
        .await?;
    let mut attached = Attached::new();
    if links.is_empty() {
        return Ok(attached);
    }
    let ids = links.iter().map(|link| link.attachment_id);
    let heads = attachment::Entity::find()
        .filter(attachment::Column::Id.is_in(ids))
        .into_partial_model::<attachment::Head>()
        .all(db)
        .await?;
    let heads: HashMap<_, _> = heads.into_iter().map(|head| (head.id, head)).collect();
    for link in links {
        let files = attached.entry(link.message_id).or_default();
        files.extend(heads.get(&link.attachment_id).cloned());
    }
    Ok(attached)
}
