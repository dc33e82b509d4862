//! `GET` and `POST /v1/invitations`, `GET` and `DELETE /v1/invitations/{id}`.

use chrono::{DateTime, TimeDelta, Utc};
use entity::invitation;
use entity::membership::{self, Role};
use schemars::JsonSchema;
use schemas::values::EmailAddress;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::http::header::LOCATION;
use warp::reply::Response;

use super::{directory, email_key, mails};
use crate::audit::Change;
use crate::call::Call;
use crate::error::ApiError;
use crate::orders::text;
use crate::page::{Page, PageRequest};
use crate::reply;
use crate::schema::States;

/// How long an invitation can be accepted.
const LIFE: TimeDelta = TimeDelta::days(7);
/// How many an account may have that can be accepted.
const MOST: u64 = 100;

/// Somebody who was asked to act for the account.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Invitation")]
pub(crate) struct InvitationItem {
    id: Uuid,
    email: String,
    #[schemars(with = "States<Role>")]
    role: String,
    status: InvitationStatus,
    /// Who invites: a person or a key.
    invited_by: String,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    links: InvitationLinks,
}

/// How far an invitation has come.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum InvitationStatus {
    Pending,
    Accepted,
    Revoked,
    Expired,
}

/// Where an invitation is.
#[derive(Serialize, JsonSchema)]
struct InvitationLinks {
    #[serde(rename = "self")]
    own: String,
}

/// Somebody to be invited.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct InvitationRequest {
    /// Where the link is mailed.
    email: String,
    /// As what: they may do no more than the credential that invites.
    #[schemars(with = "States<Role>")]
    role: String,
}

/// Lists who was invited.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = call.query();
    let page = PageRequest::<Uuid>::read(&mut query);
    let page = query.finish(page)?;
    let rows = invitation::Entity::find().filter(invitation::Column::AccountId.eq(call.account()?));
    let rows = page.of(rows, invitation::Column::CreatedAt, invitation::Column::Id);
    let rows = rows.all(&call.state.db).await?;
    let key = |row: &invitation::Model| (row.created_at, row.id);
    Ok(reply::ok(&Page::new(rows, page, key, item)))
}

/// Shows an invitation.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    Ok(reply::ok(&item(own(&call).await?)))
}

/// Invites somebody. An earlier invitation of the same address does not count any more.
pub(crate) async fn create(call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let mut fields = call.fields()?;
    let email: Option<EmailAddress> = fields.required("email");
    let role = fields.required_one_of::<Role>("role");
    let (email, role) = fields.finish(email.zip(role))?;
    if !caller.may_give(role) {
        return Err(ApiError::role_exceeds());
    }
    call.state
        .limits
        .mail(call.from, &email_key(&email))
        .await?;
    // Whoever acts for an account already is no secret within it.
    let transaction = entity::begin(&call.state.db).await?;
    if let Some(user) = directory::find_user(&transaction, &email).await? {
        let member = membership::Entity::find_by_id((caller.account_id, user.id));
        if member.one(&transaction).await?.is_some() {
            return Err(ApiError::conflict("They act for this account already."));
        }
    }
    let now = Utc::now();
    let pending = invitation::Entity::find()
        .filter(invitation::Column::AccountId.eq(caller.account_id))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .filter(invitation::Column::ExpiresAt.gt(now));
    if pending.count(&transaction).await? >= MOST {
        let detail = format!("The account has {MOST} invitations that wait. Revoke one.");
        return Err(ApiError::conflict(detail));
    }
    let row = invitation::Model {
        id: Uuid::now_v7(),
        account_id: caller.account_id,
        email_key: email_key(&email),
        email: email.into(),
        role,
        invited_by: caller.actor(),
        expires_at: now + LIFE,
        accepted_at: None,
        revoked_at: None,
        created_at: now,
    };
    invitation::Entity::update_many()
        .col_expr(invitation::Column::RevokedAt, Expr::value(now))
        .filter(invitation::Column::AccountId.eq(caller.account_id))
        .filter(invitation::Column::EmailKey.eq(&row.email_key))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .exec(&transaction)
        .await?;
    let insert = invitation::Entity::insert(row.clone().into_active_model().reset_all());
    insert.exec_without_returning(&transaction).await?;
    let mail = mails::of_invitation(&transaction, &row).await?;
    let item = item(row);
    let change = Change {
        caller,
        action: "invitation.create",
        subject: item.id.to_string(),
        before: None,
        after: Some(json!(item)),
    };
    change.write(&transaction).await?;
    transaction.commit().await?;
    mail.send(&call.state);
    let mut response = reply::json(StatusCode::CREATED, &item);
    reply::set(&mut response, LOCATION, &item.links.own);
    Ok(response)
}

/// Takes an invitation back.
pub(crate) async fn revoke(call: Call) -> Result<Response, ApiError> {
    let before = own(&call).await?;
    if before.accepted_at.is_some() {
        return Err(ApiError::conflict(
            "It was accepted. Remove the user instead.",
        ));
    }
    let transaction = entity::begin(&call.state.db).await?;
    let revoked = invitation::Entity::update_many()
        .col_expr(invitation::Column::RevokedAt, Expr::value(Utc::now()))
        .filter(invitation::Column::Id.eq(before.id))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .exec(&transaction)
        .await?;
    if revoked.rows_affected > 0 {
        let change = Change {
            caller: call.caller()?,
            action: "invitation.revoke",
            subject: before.id.to_string(),
            before: Some(json!(item(before))),
            after: None,
        };
        change.write(&transaction).await?;
        transaction.commit().await?;
    }
    Ok(reply::empty())
}

/// The invitation in the path, if it is one to the account.
async fn own(call: &Call) -> Result<invitation::Model, ApiError> {
    let found = invitation::Entity::find_by_id(call.id("invitation")?)
        .filter(invitation::Column::AccountId.eq(call.account()?))
        .one(&call.state.db)
        .await?;
    found.ok_or_else(|| ApiError::not_found("invitation"))
}

fn item(row: invitation::Model) -> InvitationItem {
    let status = match (row.accepted_at, row.revoked_at) {
        (Some(_), _) => InvitationStatus::Accepted,
        (None, Some(_)) => InvitationStatus::Revoked,
        _ if row.expires_at <= Utc::now() => InvitationStatus::Expired,
        _ => InvitationStatus::Pending,
    };
    InvitationItem {
        id: row.id,
        email: row.email,
        role: text(&row.role),
        status,
        invited_by: row.invited_by,
        expires_at: row.expires_at,
        created_at: row.created_at,
        links: InvitationLinks {
            own: format!("/v1/invitations/{}", row.id),
        },
    }
}
