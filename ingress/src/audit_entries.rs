//! `GET /v1/audit-entries`.

use chrono::{DateTime, Utc};
use entity::audit_entry;
use schemars::JsonSchema;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::page::{Page, PageRequest};
use crate::reply;

/// A change that somebody made.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub(crate) struct EntryItem {
    id: Uuid,
    at: DateTime<Utc>,
    /// Who: a person, a key or an operator.
    actor: String,
    /// With what: the kind of credential and its id.
    credential: Option<String>,
    /// What: `api_key.create`.
    action: String,
    /// The id of what was changed.
    subject: String,
    /// What it was before; null if it was not there.
    before: Option<Value>,
    /// What it was afterwards; null if it was gone.
    after: Option<Value>,
    message_id: Option<Uuid>,
    trace_id: Option<String>,
}

/// Lists what was changed about the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    use audit_entry::Column::{AccountId, At, Id, Subject};
    let mut query = call.query();
    let subject = query.text("subject");
    let page = PageRequest::read(&mut query);
    let page = query.finish(page)?;
    let mut rows = audit_entry::Entity::find().filter(AccountId.eq(call.account()?));
    if let Some(subject) = subject {
        rows = rows.filter(Subject.eq(subject));
    }
    let rows = page.of(rows, At, Id);
    let rows = rows.all(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.at, row.id),
        item,
    )))
}

fn item(entry: audit_entry::Model) -> EntryItem {
    let json = |text: Option<String>| serde_json::from_str(&text?).ok();
    EntryItem {
        id: entry.id,
        at: entry.at,
        actor: entry.actor,
        credential: entry.credential,
        action: entry.action,
        subject: entry.subject,
        before: json(entry.before),
        after: json(entry.after),
        message_id: entry.message_id,
        trace_id: entry.trace_id,
    }
}
