//! Accounts: synchronous, written to the database. `GET /v1/accounts`, `GET` and
//! `PATCH /v1/accounts/{id}`.

use chrono::{DateTime, Utc};
use entity::account::{self, AccountKind};
use schemars::JsonSchema;
use schemas::values::{CountryCode, Currency, EmailAddress, Locale, Name, TimeZone, VatId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, Set,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use warp::reply::Response;

use crate::audit::Change;
use crate::call::Call;
use crate::error::ApiError;
use crate::orders::text;
use crate::reply;
use crate::schema::States;

/// An account to be created.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Business or person.
    pub kind: AccountKind,
    /// Legal name.
    pub name: Name,
    /// Where invoices are mailed.
    pub email: Option<EmailAddress>,
    /// Street and number, possibly several lines.
    pub street: String,
    /// Postal code.
    pub postal_code: String,
    /// Town.
    pub city: String,
    /// Country.
    pub country: CountryCode,
    /// VAT identification number.
    pub vat_id: Option<VatId>,
    /// The currency it is invoiced in.
    pub currency: Currency,
    /// The language of its documents and mails.
    pub locale: Locale,
    /// The zone that its billing periods are in.
    pub time_zone: TimeZone,
    /// Days from issue to due date.
    pub payment_terms_days: u16,
}

/// Creates an account and returns its id.
///
/// # Errors
/// When the database cannot be reached.
pub async fn create_account(db: &impl ConnectionTrait, new: NewAccount) -> Result<Uuid, DbErr> {
    let id = Uuid::now_v7();
    let row = account::ActiveModel {
        id: Set(id),
        kind: Set(new.kind),
        name: Set(new.name.into()),
        email: Set(new.email.map(Into::into)),
        street: Set(new.street),
        postal_code: Set(new.postal_code),
        city: Set(new.city),
        country: Set(new.country.into()),
        vat_id: Set(new.vat_id.map(Into::into)),
        currency: Set(new.currency.into()),
        locale: Set(new.locale.to_string()),
        time_zone: Set(new.time_zone.to_string()),
        payment_terms_days: Set(new.payment_terms_days.into()),
        version: Set(1),
        active: Set(true),
        created_at: Set(Utc::now()),
    };
    account::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(id)
}

/// A customer.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Account")]
pub(crate) struct AccountItem {
    id: Uuid,
    #[schemars(with = "States<AccountKind>")]
    kind: String,
    /// Legal name.
    name: String,
    /// Where invoices are mailed. Without it they are not.
    email: Option<String>,
    /// Street and number, possibly several lines.
    street: String,
    postal_code: String,
    city: String,
    /// ISO 3166-1 alpha-2.
    country: String,
    vat_id: Option<String>,
    /// ISO 4217 code of the currency it is invoiced in. Set by the seller.
    currency: String,
    /// Language of documents and mails: `en`, `de`, `fr`.
    locale: String,
    /// IANA name of the zone of its billing periods.
    time_zone: String,
    /// Days from issue to due date. Set by the seller.
    payment_terms_days: i32,
    created_at: DateTime<Utc>,
    links: AccountLinks,
}

/// Where an account is.
#[derive(Serialize, JsonSchema)]
struct AccountLinks {
    #[serde(rename = "self")]
    own: String,
}

/// Every account that a credential acts for, on one page.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Accounts {
    items: Vec<AccountItem>,
    /// Always null.
    next: Option<String>,
}

/// What changes about an account. What is not mentioned stays; null removes.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct AccountPatch {
    name: Option<String>,
    email: Option<String>,
    street: Option<String>,
    postal_code: Option<String>,
    city: Option<String>,
    country: Option<String>,
    vat_id: Option<String>,
    locale: Option<String>,
    time_zone: Option<String>,
}

/// Lists the accounts of the credential: an API key has one.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query().finish(Some(()))?;
    let account = account::Entity::find_by_id(call.account()?)
        .one(&call.state.db)
        .await?;
    Ok(reply::ok(&Accounts {
        items: account.into_iter().map(item).collect(),
        next: None,
    }))
}

/// Shows an account.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    Ok(reply::ok(&item(own(&call).await?)))
}

/// Changes an account. Invoices that are issued keep what they say.
pub(crate) async fn change(call: Call) -> Result<Response, ApiError> {
    let account = own(&call).await?;
    let before = item(account.clone());
    let version = account.version;
    let mut row = account.into_active_model();
    let mut fields = call.fields()?;
    set(&mut row.name, fields.changed::<Name>("name"));
    let email = fields.changed_or_removed::<EmailAddress>("email");
    set(&mut row.email, email.map(|email| email.map(String::from)));
    set(&mut row.street, fields.changed::<Name>("street"));
    set(&mut row.postal_code, fields.changed::<Name>("postal_code"));
    set(&mut row.city, fields.changed::<Name>("city"));
    set(&mut row.country, fields.changed::<CountryCode>("country"));
    let vat_id = fields.changed_or_removed::<VatId>("vat_id");
    set(&mut row.vat_id, vat_id.map(|id| id.map(String::from)));
    let locale = fields.changed::<Locale>("locale");
    set(&mut row.locale, locale.map(|locale| locale.to_string()));
    let zone = fields.changed::<TimeZone>("time_zone");
    set(&mut row.time_zone, zone.map(|zone| zone.to_string()));
    for name in ["currency", "payment_terms_days"] {
        fields.refuse(name, "is set by the seller");
    }
    fields.finish(Some(()))?;
    call.if_match(&before)?;

    row.version = Set(version + 1);
    let transaction = entity::begin(&call.state.db).await?;
    let updated = account::Entity::update_many()
        .set(row)
        .filter(account::Column::Id.eq(before.id))
        // Of two changes at once, the second one is told.
        .filter(account::Column::Version.eq(version))
        .exec(&transaction)
        .await?;
    if updated.rows_affected == 0 {
        return Err(ApiError::changed_meanwhile());
    }
    let account = account::Entity::find_by_id(before.id)
        .one(&transaction)
        .await?;
    let after = item(account.ok_or_else(|| ApiError::not_found("account"))?);
    let change = Change {
        caller: call.caller()?,
        action: "account.change",
        subject: before.id.to_string(),
        before: Some(json!(before)),
        after: Some(json!(after)),
    };
    change.write(&transaction).await?;
    transaction.commit().await?;
    Ok(reply::ok(&after))
}

/// Sets a column, if there is something to set it to.
fn set<T, V>(column: &mut sea_orm::ActiveValue<V>, value: Option<T>)
where
    T: Into<V>,
    V: Into<sea_orm::Value>,
{
    if let Some(value) = value {
        *column = Set(value.into());
    }
}

/// The account in the path, if the credential acts for it.
async fn own(call: &Call) -> Result<account::Model, ApiError> {
    let (id, own) = (call.id("account")?, call.account()?);
    let account = match id == own {
        true => account::Entity::find_by_id(id).one(&call.state.db).await?,
        false => None,
    };
    account.ok_or_else(|| ApiError::not_found("account"))
}

fn item(account: account::Model) -> AccountItem {
    AccountItem {
        id: account.id,
        kind: text(&account.kind),
        name: account.name,
        email: account.email,
        street: account.street,
        postal_code: account.postal_code,
        city: account.city,
        country: account.country,
        vat_id: account.vat_id,
        currency: account.currency,
        locale: account.locale,
        time_zone: account.time_zone,
        payment_terms_days: account.payment_terms_days,
        created_at: account.created_at,
        links: AccountLinks {
            own: format!("/v1/accounts/{}", account.id),
        },
    }
}
