//! Files for tickets: `POST /v1/attachments`, `GET /v1/attachments`, `GET /v1/attachments/{id}`,
//! `GET /v1/attachments/{id}/content`, and the same for the support.

use chrono::Utc;
use data_encoding::HEXLOWER;
use entity::{attachment, ticket, ticket_attachment, ticket_message};
use schemars::JsonSchema;
use schemas::ticket::attachment_id;
use schemas::values::FileName;
use sea_orm::sea_query::{Expr, OnConflict, SelectStatement};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    TransactionTrait,
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, LOCATION};
use warp::reply::Response;

use crate::audit::Change;
use crate::call::{Call, media_type};
use crate::error::ApiError;
use crate::page::{Page, PageRequest};
use crate::reply;

/// What can be uploaded: nothing that a browser would run.
pub(super) const MEDIA_TYPES: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
    "application/zip",
    "application/gzip",
    "application/json",
    "text/plain",
    "text/csv",
];
/// How many bytes the files of an account may have together.
const MOST_BYTES: i64 = 1024 * 1024 * 1024;

/// A file for tickets.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attachment")]
pub(super) struct AttachmentItem {
    id: Uuid,
    name: String,
    media_type: String,
    /// In bytes.
    size: i64,
    /// In hex.
    sha256: String,
    uploaded_at: chrono::DateTime<Utc>,
    links: AttachmentLinks,
}

/// Where a file is.
#[derive(Serialize, JsonSchema)]
struct AttachmentLinks {
    /// The file as it is.
    content: String,
}

/// Whose view of files it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// An account's.
    Customer,
    /// The support's.
    Staff,
}

impl Side {
    fn content(self, id: Uuid) -> String {
        match self {
            Self::Customer => format!("/v1/attachments/{id}/content"),
            Self::Staff => format!("/v1/staff/attachments/{id}/content"),
        }
    }
}

pub(super) fn item(head: attachment::Head, side: Side) -> AttachmentItem {
    AttachmentItem {
        id: head.id,
        name: head.name,
        media_type: head.media_type,
        size: head.size,
        sha256: head.sha256,
        uploaded_at: head.uploaded_at,
        links: AttachmentLinks {
            content: side.content(head.id),
        },
    }
}

/// Takes a file of a customer.
pub(super) async fn upload(call: Call) -> Result<Response, ApiError> {
    store(call, Side::Customer).await
}

/// Takes a file of the support.
pub(super) async fn staff_upload(call: Call) -> Result<Response, ApiError> {
    store(call, Side::Staff).await
}

/// Stores a file. The same one under the same name is there once, however often it is sent.
async fn store(mut call: Call, side: Side) -> Result<Response, ApiError> {
    let mut query = call.query();
    let name = query.required::<FileName>("name");
    let name = query.finish(name)?;
    let media_type = media_type(&call.headers).to_ascii_lowercase();
    let bytes = std::mem::take(&mut call.body);
    if let Err(reason) = is_what_it_says(&media_type, &bytes) {
        return Err(ApiError::wrong_field("body", reason));
    }
    let caller = call.caller()?;
    let account_id = caller.account_id;
    let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
    let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let file = attachment::Model {
        id: attachment_id(account_id, &name, &sha256),
        account_id,
        name: name.to_string(),
        media_type,
        size,
        sha256,
        uploaded_at: Utc::now(),
        bytes,
    };
    let transaction = call.state.db.begin().await?;
    let used: Option<Option<i64>> = attachment::Entity::find()
        .filter(attachment::Column::AccountId.eq(account_id))
        .filter(attachment::Column::Id.ne(file.id))
        .select_only()
        .expr(Expr::cust("CAST(SUM(size) AS BIGINT)"))
        .into_tuple()
        .one(&transaction)
        .await?;
    if used.flatten().unwrap_or(0) + size > MOST_BYTES {
        return Err(ApiError::conflict(
            "The files of the account have 1 GiB together. A file that no ticket uses goes after a day.",
        ));
    }
    let head = head(&file);
    // One that nobody has used yet is kept for another day.
    let again = OnConflict::column(attachment::Column::Id)
        .update_column(attachment::Column::UploadedAt)
        .to_owned();
    attachment::Entity::insert(attachment::ActiveModel::from(file).reset_all())
        .on_conflict(again)
        .exec_without_returning(&transaction)
        .await?;
    let change = Change {
        caller,
        action: "attachment.upload",
        subject: head.id.to_string(),
        before: None,
        after: Some(json!({ "name": head.name, "size": head.size, "sha256": head.sha256 })),
    };
    change.write(&transaction).await?;
    transaction.commit().await?;
    let location = side.content(head.id);
    let mut response = reply::json(StatusCode::CREATED, &item(head, side));
    reply::set(&mut response, LOCATION, &location);
    Ok(response)
}

fn head(file: &attachment::Model) -> attachment::Head {
    attachment::Head {
        id: file.id,
        account_id: file.account_id,
        name: file.name.clone(),
        media_type: file.media_type.clone(),
        size: file.size,
        sha256: file.sha256.clone(),
        uploaded_at: file.uploaded_at,
    }
}

/// Whether the bytes are of the type that is said: what is downloaded by it must be nothing else.
fn is_what_it_says(media_type: &str, bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("must not be empty".to_owned());
    }
    let is_text = media_type.starts_with("text/") || media_type == "application/json";
    let right = match is_text {
        true => std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')),
        false => infer::get(bytes).is_some_and(|found| found.mime_type() == media_type),
    };
    match (right, is_text) {
        (true, _) => Ok(()),
        (false, true) => Err("must be text in UTF-8".to_owned()),
        (false, false) => Err(format!("must be {media_type}, as the Content-Type says")),
    }
}

/// Lists the files that the account has uploaded.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    use attachment::Column;
    let mut query = call.query();
    let page = PageRequest::read(&mut query);
    let page = query.finish(page)?;
    let rows = attachment::Entity::find().filter(Column::AccountId.eq(call.account()?));
    let rows = page.of(rows, Column::UploadedAt, Column::Id);
    let rows = rows.into_partial_model::<attachment::Head>();
    let rows = rows.all(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.uploaded_at, row.id),
        |row| item(row, Side::Customer),
    )))
}

/// Shows what is known of a file.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let found = visible(&call, Side::Customer)?
        .into_partial_model::<attachment::Head>()
        .one(&call.state.db)
        .await?;
    let head = found.ok_or_else(|| ApiError::not_found("attachment"))?;
    Ok(reply::ok(&item(head, Side::Customer)))
}

/// Downloads a file of the account, or of a ticket of it.
pub(super) async fn content(call: Call) -> Result<Response, ApiError> {
    download(call, Side::Customer).await
}

/// Downloads any file.
pub(super) async fn staff_content(call: Call) -> Result<Response, ApiError> {
    download(call, Side::Staff).await
}

async fn download(call: Call, side: Side) -> Result<Response, ApiError> {
    let found = visible(&call, side)?.one(&call.state.db).await?;
    let file = found.ok_or_else(|| ApiError::not_found("attachment"))?;
    let mut response = Response::new(file.bytes.into());
    reply::set(&mut response, CONTENT_TYPE, &file.media_type);
    reply::set(&mut response, CONTENT_DISPOSITION, &disposition(&file.name));
    reply::set(&mut response, ETAG, &format!("\"{}\"", file.sha256));
    reply::set(&mut response, CACHE_CONTROL, "private, no-cache");
    Ok(response)
}

/// It is saved under its name, and never shown in place (RFC 6266; RFC 8187 for other scripts).
fn disposition(name: &str) -> String {
    let plain = |c: char| match c.is_ascii_graphic() || c == ' ' {
        true => c,
        false => '_',
    };
    let ascii: String = name.chars().map(plain).collect();
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

/// The file in the path, if it may be seen: a customer sees those of the account, and those of what
/// the support says in a ticket of it.
fn visible(call: &Call, side: Side) -> Result<sea_orm::Select<attachment::Entity>, ApiError> {
    let file = attachment::Entity::find_by_id(call.id("attachment")?);
    if side == Side::Staff {
        return Ok(file);
    }
    let account_id = call.account()?;
    let own = attachment::Column::AccountId.eq(account_id);
    let answered = attachment::Column::Id.in_subquery(of_tickets(account_id));
    Ok(file.filter(Condition::any().add(own).add(answered)))
}

/// The files of everything that an account may read in its tickets.
fn of_tickets(account_id: Uuid) -> SelectStatement {
    let tickets = ticket::Entity::find()
        .filter(ticket::Column::AccountId.eq(account_id))
        .select_only()
        .column(ticket::Column::Id)
        .into_query();
    let said = ticket_message::Entity::find()
        .filter(ticket_message::Column::TicketId.in_subquery(tickets))
        .filter(ticket_message::Column::Internal.eq(false))
        .select_only()
        .column(ticket_message::Column::Id)
        .into_query();
    ticket_attachment::Entity::find()
        .filter(ticket_attachment::Column::MessageId.in_subquery(said))
        .select_only()
        .column(ticket_attachment::Column::AttachmentId)
        .into_query()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_says() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for (media_type, bytes, right) in [
            ("image/png", &png[..], true),
            ("image/jpeg", png, false),
            ("image/png", b"<svg onload=alert(1)>", false),
            ("application/pdf", b"%PDF-1.7\n", true),
            ("text/plain", "Grüße".as_bytes(), true),
            ("text/plain", &[0xff, 0xfe, b'a', 0], false),
            ("text/csv", b"a\0b", false),
            ("text/plain", b"", false),
        ] {
            assert_eq!(
                is_what_it_says(media_type, bytes).is_ok(),
                right,
                "{media_type} {bytes:?}"
            );
        }
    }

    #[test]
    fn a_name_stays_in_its_header() {
        let said = disposition("Fehler größer; x=1.log");
        assert_eq!(
            said,
            "attachment; filename=\"Fehler gr__er; x=1.log\"; \
             filename*=UTF-8''Fehler%20gr%C3%B6%C3%9Fer%3B%20x%3D1%2Elog"
        );
    }
}
