//! `GET` and `POST /v1/api-keys`, `GET` and `DELETE /v1/api-keys/{key_id}`,
//! `POST /v1/api-keys/{key_id}/rotations`.

use chrono::{DateTime, TimeDelta, Utc};
use entity::api_key;
use ipnet::IpNet;
use schemars::JsonSchema;
use schemas::values::Name;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use warp::http::StatusCode;
use warp::http::header::LOCATION;
use warp::reply::Response;

use crate::audit::Change;
use crate::call::Call;
use crate::credentials::{Caller, NewKey, Scope, create_key, revoke_key, rotate_key, shown_id};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::page::{Page, PageRequest};
use crate::reply;

/// How many keys an account may have that work.
const MOST: u64 = 100;
/// How long a rotated key may go on working, in seconds, and how long it does if nothing is said.
pub(crate) const MAX_OVERLAP: u32 = 30 * 24 * 3600;
pub(crate) const OVERLAP: u32 = 24 * 3600;

/// An API key, without its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub(crate) struct KeyItem {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// From where it may be used. Empty: from everywhere.
    networks: Vec<String>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    /// To the minute.
    last_used_at: Option<DateTime<Utc>>,
    created_by: Option<String>,
    created_at: DateTime<Utc>,
    links: KeyLinks,
}

/// Where an API key is.
#[derive(Serialize, JsonSchema)]
struct KeyLinks {
    #[serde(rename = "self")]
    own: String,
}

/// A new API key, with its secret for the only time.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewApiKey")]
pub(crate) struct CreatedKey {
    /// What to send as `Authorization: Bearer …`. It is not shown again.
    key: String,
    #[serde(flatten)]
    item: KeyItem,
}

/// An API key to be created.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ApiKeyRequest")]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct KeyRequest {
    /// What to call it.
    name: String,
    /// What it may do: no more than the credential that creates it.
    scopes: Vec<String>,
    /// From where it may be used, as CIDR. Without any, from where the credential that creates it may.
    #[serde(default)]
    networks: Option<Vec<String>>,
    /// When it stops working by itself: at the latest with the credential that creates it.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

/// How an API key is rotated.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ApiKeyRotation")]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct Rotation {
    /// How many seconds the old key goes on working; a day if nothing is said.
    #[serde(default)]
    #[schemars(range(max = MAX_OVERLAP))]
    overlap_seconds: Option<u32>,
}

/// Lists the API keys of the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = call.query();
    let page = PageRequest::<String>::read(&mut query);
    let page = query.finish(page)?;
    let rows = api_key::Entity::find().filter(api_key::Column::AccountId.eq(call.account()?));
    let rows = page.of(rows, api_key::Column::CreatedAt, api_key::Column::Id);
    let rows = rows.all(&call.state.db).await?;
    let key = |row: &api_key::Model| (row.created_at, row.id.clone());
    Ok(reply::ok(&Page::new(rows, page, key, item)))
}

/// Shows an API key.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    Ok(reply::ok(&item(own(&call).await?)))
}

/// Creates an API key.
pub(crate) async fn create(call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let mut fields = call.fields()?;
    let name: Option<Name> = fields.required("name");
    let scopes = scopes(&mut fields, |scope| caller.has(scope));
    let networks = networks(&mut fields, caller);
    let expires_at = expires_at(&mut fields, caller);
    let read = name.zip(scopes).zip(networks).zip(expires_at);
    let (((name, scopes), networks), expires_at) = fields.finish(read)?;

    let transaction = entity::begin(&call.state.db).await?;
    room(&call, &transaction).await?;
    let new = NewKey {
        account_id: caller.account_id,
        name: name.as_str(),
        scopes: &scopes,
        expires_at,
        networks: &networks,
        created_by: &caller.actor(),
    };
    let key = create_key(&transaction, &call.state.pepper, new).await?;
    answer(&call, transaction, key, "api_key.create").await
}

/// Creates a key that may do what this one may, which goes on working for a while.
pub(crate) async fn rotate(call: Call) -> Result<Response, ApiError> {
    let (old, caller) = (own(&call).await?, call.caller()?);
    let mut fields = call.fields()?;
    let overlap = fields.integer("overlap_seconds", (0, MAX_OVERLAP), OVERLAP);
    let overlap = fields.finish(overlap)?;
    if !caller.covers(&old) {
        return Err(ApiError::exceeds());
    }
    if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= Utc::now()) {
        return Err(ApiError::conflict(
            "This key does not work any more. Create a new one.",
        ));
    }
    let transaction = entity::begin(&call.state.db).await?;
    room(&call, &transaction).await?;
    let overlap = TimeDelta::seconds(overlap.into());
    let key = rotate_key(
        &transaction,
        &call.state.pepper,
        old,
        overlap,
        &caller.actor(),
    )
    .await?;
    answer(&call, transaction, key, "api_key.rotate").await
}

/// Revokes an API key. It stops working everywhere within seconds.
pub(crate) async fn revoke(call: Call) -> Result<Response, ApiError> {
    let (key, caller) = (own(&call).await?, call.caller()?);
    let transaction = entity::begin(&call.state.db).await?;
    if revoke_key(&transaction, &key.id).await? {
        let change = Change {
            caller,
            action: "api_key.revoke",
            subject: key.id.clone(),
            before: Some(json!(item(key))),
            after: None,
        };
        change.write(&transaction).await?;
        transaction.commit().await?;
    }
    Ok(reply::empty())
}

/// 201 with the new key.
async fn answer(
    call: &Call,
    transaction: sea_orm::DatabaseTransaction,
    key: String,
    action: &'static str,
) -> Result<Response, ApiError> {
    let row = api_key::Entity::find_by_id(shown_id(&key))
        .one(&transaction)
        .await?;
    let item = item(row.ok_or_else(|| ApiError::not_found("API key"))?);
    let location = item.links.own.clone();
    let change = Change {
        caller: call.caller()?,
        action,
        subject: item.id.clone(),
        before: None,
        after: Some(json!(item)),
    };
    change.write(&transaction).await?;
    transaction.commit().await?;
    let mut response = reply::json(StatusCode::CREATED, &CreatedKey { key, item });
    reply::set(&mut response, LOCATION, &location);
    Ok(response)
}

/// 409 if the account has as many keys as it may have.
async fn room(call: &Call, db: &impl sea_orm::ConnectionTrait) -> Result<(), ApiError> {
    use sea_orm::PaginatorTrait;
    let working = Condition::any()
        .add(api_key::Column::ExpiresAt.is_null())
        .add(api_key::Column::ExpiresAt.gt(Utc::now()));
    let count = api_key::Entity::find()
        .filter(api_key::Column::AccountId.eq(call.account()?))
        .filter(api_key::Column::RevokedAt.is_null())
        .filter(working)
        .count(db)
        .await?;
    match count < MOST {
        true => Ok(()),
        false => Err(ApiError::conflict(format!(
            "The account has {MOST} API keys that work. Revoke one first."
        ))),
    }
}

/// The key in the path, if it is the account's.
async fn own(call: &Call) -> Result<api_key::Model, ApiError> {
    api_key::Entity::find_by_id(call.param())
        .filter(api_key::Column::AccountId.eq(call.account()?))
        .one(&call.state.db)
        .await?
        .ok_or_else(|| ApiError::not_found("API key"))
}

/// At least one scope, none that the caller does not have.
pub(crate) fn scopes(fields: &mut Fields, has: impl Fn(Scope) -> bool) -> Option<Vec<Scope>> {
    let texts = fields.texts("scopes")?;
    let mut scopes = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let field = format!("scopes[{index}]");
        match text.parse::<Scope>() {
            Ok(scope) if !has(scope) => {
                fields.wrong(field, "is more than the credential itself may do");
            }
            Ok(scope) if scopes.contains(&scope) => fields.wrong(field, "is there twice"),
            Ok(scope) => scopes.push(scope),
            Err(_) => fields.wrong(field, format!("must be one of {}", Scope::names())),
        }
    }
    if texts.is_empty() {
        fields.wrong("scopes", format!("must be some of {}", Scope::names()));
    }
    Some(scopes)
}

/// Only such that the caller may be used from; without any, those of the caller.
pub(crate) fn networks(fields: &mut Fields, caller: &Caller) -> Option<Vec<IpNet>> {
    let texts = fields.optional_texts("networks")?;
    if texts.is_empty() {
        return Some(caller.networks.clone());
    }
    let mut networks = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let address = || {
            text.parse()
                .ok()
                .map(|address: std::net::IpAddr| address.into())
        };
        let network: Option<IpNet> = text.parse().ok().or_else(address);
        let reason = match network {
            None => "must be a network such as 192.0.2.0/24 or 2001:db8::/32",
            Some(network) if !caller.reaches(&network) => {
                "is not where the credential itself may be used"
            }
            Some(network) => {
                networks.push(network);
                continue;
            }
        };
        fields.wrong(format!("networks[{index}]"), reason);
    }
    Some(networks)
}

/// No later than the caller; if nothing is said, with the caller. Nothing inside if it does not expire.
pub(crate) fn expires_at(fields: &mut Fields, caller: &Caller) -> Option<Option<DateTime<Utc>>> {
    let at = fields.instant("expires_at")?.or(caller.expires_at);
    if !caller.outlasts(at) {
        fields.wrong(
            "expires_at",
            "must be no later than that of the credential itself",
        );
        return None;
    }
    if at.is_some_and(|at| at <= Utc::now()) {
        fields.wrong("expires_at", "must be in the future");
        return None;
    }
    Some(at)
}

fn item(key: api_key::Model) -> KeyItem {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    KeyItem {
        links: KeyLinks {
            own: format!("/v1/api-keys/{}", key.id),
        },
        id: key.id,
        name: key.name,
        scopes: words(&key.scopes),
        networks: words(&key.networks),
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
        last_used_at: key.last_used_at,
        created_by: key.created_by,
        created_at: key.created_at,
    }
}
