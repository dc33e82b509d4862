//! `GET /v1/tickets`, `GET /v1/tickets/{id}`.

use entity::{ticket, ticket_event, ticket_message};
use schemas::ticket::{Category, Priority, TicketStatus};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, Select,
};
use uuid::Uuid;
use warp::reply::Response;

use crate::State;
use crate::call::Call;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::page::{Page, PageRequest};
use crate::ticket_items::{details, early, item};
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
    let (messages, history) = told(&state.db, id).await?;
    Ok(reply::ok(&details(found, messages, history)))
}

/// Everything that was said in a ticket and done to it, oldest first.
pub(crate) async fn told(
    db: &DatabaseConnection,
    id: Uuid,
) -> Result<(Vec<ticket_message::Model>, Vec<ticket_event::Model>), DbErr> {
    let messages = ticket_message::Entity::find()
        .filter(ticket_message::Column::TicketId.eq(id))
        .order_by_asc(ticket_message::Column::Version)
        .order_by_asc(ticket_message::Column::Internal)
        .all(db);
    let history = ticket_event::Entity::find()
        .filter(ticket_event::Column::TicketId.eq(id))
        .order_by_asc(ticket_event::Column::Version)
        .all(db);
    Ok((messages.await?, history.await?))
}
