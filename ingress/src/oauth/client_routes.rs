//! `GET` and `POST /v1/oauth-clients`, `GET` and `DELETE /v1/oauth-clients/{id}`,
//! `POST /v1/oauth-clients/{id}/rotations`.

use chrono::{DateTime, TimeDelta, Utc};
use entity::oauth_client::{self, Column};
use schemars::JsonSchema;
use schemas::values::Name;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, PaginatorTrait,
    QueryFilter,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::http::header::LOCATION;
use warp::reply::Response;

use super::clients::{NewClient, create_client, revoke_client, rotate_secret};
use crate::api_keys::{MAX_OVERLAP, OVERLAP, expires_at, networks, scopes};
use crate::audit::Change;
use crate::call::Call;
use crate::error::ApiError;
use crate::page::{Page, PageRequest};
use crate::reply;

/// How many clients an account may have that work.
const MOST: u64 = 100;
const NOUN: &str = "OAuth client";

/// An OAuth client, without its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OAuthClient")]
pub(crate) struct ClientItem {
    /// The `client_id`.
    id: Uuid,
    name: String,
    /// What its tokens may allow at most.
    scopes: Vec<String>,
    /// From where it and its tokens may be used. Empty: from everywhere.
    networks: Vec<String>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    /// Until when the secret before the last rotation works.
    old_secret_until: Option<DateTime<Utc>>,
    /// To the minute.
    last_used_at: Option<DateTime<Utc>>,
    created_by: Option<String>,
    created_at: DateTime<Utc>,
    links: ClientLinks,
}

/// Where an OAuth client is.
#[derive(Serialize, JsonSchema)]
struct ClientLinks {
    #[serde(rename = "self")]
    own: String,
}

/// An OAuth client with a new secret, for the only time.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewOAuthClient")]
pub(crate) struct CreatedClient {
    /// What to exchange for access tokens at `/oauth2/token`. It is not shown again.
    client_secret: String,
    #[serde(flatten)]
    item: ClientItem,
}

/// An OAuth client to be created.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "OAuthClientRequest")]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct ClientRequest {
    /// What to call it.
    name: String,
    /// What its tokens may allow: no more than the credential that creates it.
    scopes: Vec<String>,
    /// From where it may be used, as CIDR. Without any, from where the credential that creates it may.
    #[serde(default)]
    networks: Option<Vec<String>>,
    /// When it stops working by itself: at the latest with the credential that creates it.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

/// How the secret of an OAuth client is rotated.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "OAuthClientRotation")]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct SecretRotation {
    /// How many seconds the old secret goes on working; a day if nothing is said.
    #[serde(default)]
    #[schemars(range(max = MAX_OVERLAP))]
    overlap_seconds: Option<u32>,
}

/// Lists the clients of the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = call.query();
    let page = PageRequest::<Uuid>::read(&mut query);
    let page = query.finish(page)?;
    let rows = oauth_client::Entity::find().filter(Column::AccountId.eq(call.account()?));
    let rows = page.of(rows, Column::CreatedAt, Column::Id);
    let rows = rows.all(&call.state.db).await?;
    let key = |row: &oauth_client::Model| (row.created_at, row.id);
    Ok(reply::ok(&Page::new(rows, page, key, item)))
}

/// Shows a client.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    Ok(reply::ok(&item(own(&call).await?)))
}

/// Creates a client.
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
    let new = NewClient {
        account_id: caller.account_id,
        name: name.as_str(),
        scopes: &scopes,
        expires_at,
        networks: &networks,
        created_by: &caller.actor(),
    };
    let created = create_client(&transaction, &call.state.pepper, new).await?;
    answer(&call, transaction, created, "oauth_client.create").await
}

/// Gives a client a new secret; the old one goes on working for a while.
pub(crate) async fn rotate(call: Call) -> Result<Response, ApiError> {
    let (client, caller) = (own(&call).await?, call.caller()?);
    let mut fields = call.fields()?;
    let overlap = fields.integer("overlap_seconds", (0, MAX_OVERLAP), OVERLAP);
    let overlap = fields.finish(overlap)?;
    if !caller.covers_all(&client.scopes, &client.networks, client.expires_at) {
        return Err(ApiError::exceeds());
    }
    if client.revoked_at.is_some() || client.expires_at.is_some_and(|at| at <= Utc::now()) {
        let detail = "This client does not work any more. Create a new one.";
        return Err(ApiError::conflict(detail));
    }
    let id = client.id;
    let transaction = entity::begin(&call.state.db).await?;
    let overlap = TimeDelta::seconds(overlap.into());
    let secret = rotate_secret(&transaction, &call.state.pepper, client, overlap).await?;
    answer(&call, transaction, (id, secret), "oauth_client.rotate").await
}

/// Revokes a client. It and its tokens stop working everywhere within seconds.
pub(crate) async fn revoke(call: Call) -> Result<Response, ApiError> {
    let client = own(&call).await?;
    let transaction = entity::begin(&call.state.db).await?;
    if revoke_client(&transaction, client.id).await? {
        let change = Change {
            caller: call.caller()?,
            action: "oauth_client.revoke",
            subject: client.id.to_string(),
            before: Some(json!(item(client.clone()))),
            after: None,
        };
        change.write(&transaction).await?;
        transaction.commit().await?;
    }
    call.state.oauth.forget_client(client.id).await;
    Ok(reply::empty())
}

/// 201 with the client and its new secret.
async fn answer(
    call: &Call,
    transaction: DatabaseTransaction,
    (id, client_secret): (Uuid, String),
    action: &'static str,
) -> Result<Response, ApiError> {
    let row = oauth_client::Entity::find_by_id(id)
        .one(&transaction)
        .await?;
    let item = item(row.ok_or_else(|| ApiError::not_found(NOUN))?);
    let location = item.links.own.clone();
    let change = Change {
        caller: call.caller()?,
        action,
        subject: id.to_string(),
        before: None,
        after: Some(json!(item)),
    };
    change.write(&transaction).await?;
    transaction.commit().await?;
    call.state.oauth.forget_client(id).await;
    let created = CreatedClient {
        client_secret,
        item,
    };
    let mut response = reply::json(StatusCode::CREATED, &created);
    reply::set(&mut response, LOCATION, &location);
    Ok(response)
}

/// 409 if the account has as many clients as it may have.
async fn room(call: &Call, db: &impl ConnectionTrait) -> Result<(), ApiError> {
    let working = Condition::any()
        .add(Column::ExpiresAt.is_null())
        .add(Column::ExpiresAt.gt(Utc::now()));
    let count = oauth_client::Entity::find()
        .filter(Column::AccountId.eq(call.account()?))
        .filter(Column::RevokedAt.is_null())
        .filter(working)
        .count(db)
        .await?;
    match count < MOST {
        true => Ok(()),
        false => Err(ApiError::conflict(format!(
            "The account has {MOST} OAuth clients that work. Revoke one first."
        ))),
    }
}

/// The client in the path, if it is the account's.
async fn own(call: &Call) -> Result<oauth_client::Model, ApiError> {
    oauth_client::Entity::find_by_id(call.id(NOUN)?)
        .filter(Column::AccountId.eq(call.account()?))
        .one(&call.state.db)
        .await?
        .ok_or_else(|| ApiError::not_found(NOUN))
}

fn item(client: oauth_client::Model) -> ClientItem {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    ClientItem {
        links: ClientLinks {
            own: format!("/v1/oauth-clients/{}", client.id),
        },
        id: client.id,
        name: client.name,
        scopes: words(&client.scopes),
        networks: words(&client.networks),
        expires_at: client.expires_at,
        revoked_at: client.revoked_at,
        old_secret_until: client.old_secret_until,
        last_used_at: client.last_used_at,
        created_by: client.created_by,
        created_at: client.created_at,
    }
}
