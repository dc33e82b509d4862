//! `GET` and `POST /v1/billing-contacts`, `DELETE /v1/billing-contacts/{id}`: whom invoices go to.

use chrono::{DateTime, Utc};
use entity::account_contact::{self, Field};
use schemars::JsonSchema;
use schemas::values::{EmailAddress, Name};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::reply::Response;

use super::{email_key, unless_taken};
use crate::audit::Change;
use crate::call::Call;
use crate::error::ApiError;
use crate::orders::text;
use crate::page::{Page, PageRequest};
use crate::reply;
use crate::schema::States;

/// How many an account may have: each of them is a mail for each invoice.
const MOST: u64 = 20;
/// What they get.
const KINDS: &str = "invoice";

/// Somebody who gets the invoices of the account.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BillingContact")]
pub(crate) struct ContactItem {
    id: Uuid,
    name: String,
    email: String,
    /// Whether a mail is for them, or they get a copy.
    #[schemars(with = "States<Field>")]
    field: String,
    /// What they get: `invoice`.
    kinds: Vec<String>,
    created_at: DateTime<Utc>,
}

/// Somebody who is to get the invoices.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "BillingContactRequest")]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct ContactRequest {
    name: String,
    email: String,
    /// `to` if a mail is for them, `cc` if they get a copy.
    #[schemars(with = "States<Field>")]
    field: String,
}

/// Lists whom invoices go to. Without any, they go to the address of the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    use account_contact::Column;
    let mut query = call.query();
    let page = PageRequest::<Uuid>::read(&mut query);
    let page = query.finish(page)?;
    let rows = account_contact::Entity::find().filter(Column::AccountId.eq(call.account()?));
    let rows = page.of(rows, Column::CreatedAt, Column::Id);
    let rows = rows.all(&call.state.db).await?;
    let key = |row: &account_contact::Model| (row.created_at, row.id);
    Ok(reply::ok(&Page::new(rows, page, key, item)))
}

/// Adds somebody whom invoices go to.
pub(crate) async fn create(call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let mut fields = call.fields()?;
    let name: Option<Name> = fields.required("name");
    let email: Option<EmailAddress> = fields.required("email");
    let field = fields.required_one_of::<Field>("field");
    let ((name, email), field) = fields.finish(name.zip(email).zip(field))?;
    let transaction = entity::begin(&call.state.db).await?;
    let own = account_contact::Entity::find()
        .filter(account_contact::Column::AccountId.eq(caller.account_id));
    if own.count(&transaction).await? >= MOST {
        let detail = format!("The account has {MOST} contacts. Remove one.");
        return Err(ApiError::conflict(detail));
    }
    let row = account_contact::Model {
        id: Uuid::now_v7(),
        account_id: caller.account_id,
        name: name.into(),
        email_key: email_key(&email),
        email: email.into(),
        field,
        kinds: KINDS.to_owned(),
        created_at: Utc::now(),
    };
    account_contact::Entity::insert(row.clone().into_active_model().reset_all())
        .exec_without_returning(&transaction)
        .await
        .map_err(|error| unless_taken(error, "There is a contact with this address."))?;
    let item = item(row);
    let change = Change {
        caller,
        action: "billing_contact.create",
        subject: item.id.to_string(),
        before: None,
        after: Some(json!(item)),
    };
    change.write(&transaction).await?;
    transaction.commit().await?;
    Ok(reply::json(StatusCode::CREATED, &item))
}

/// Removes somebody whom invoices went to.
pub(crate) async fn remove(call: Call) -> Result<Response, ApiError> {
    let found = account_contact::Entity::find_by_id(call.id("contact")?)
        .filter(account_contact::Column::AccountId.eq(call.account()?))
        .one(&call.state.db)
        .await?;
    let before = found.ok_or_else(|| ApiError::not_found("contact"))?;
    let transaction = entity::begin(&call.state.db).await?;
    let removed = account_contact::Entity::delete_by_id(before.id)
        .exec(&transaction)
        .await?;
    if removed.rows_affected > 0 {
        let change = Change {
            caller: call.caller()?,
            action: "billing_contact.remove",
            subject: before.id.to_string(),
            before: Some(json!(item(before))),
            after: None,
        };
        change.write(&transaction).await?;
        transaction.commit().await?;
    }
    Ok(reply::empty())
}

fn item(row: account_contact::Model) -> ContactItem {
    ContactItem {
        id: row.id,
        name: row.name,
        email: row.email,
        field: text(&row.field),
        kinds: row.kinds.split_whitespace().map(str::to_owned).collect(),
        created_at: row.created_at,
    }
}
