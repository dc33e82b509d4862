//! `POST /v1/invitation-acceptances`.
//!
//! The link proves that the address is theirs. Somebody who has no user yet chooses a name and a
//! password with it; somebody who has one acts for one account more.

use chrono::Utc;
use entity::{account, invitation};
use schemars::JsonSchema;
use schemas::link::{LinkFor, shown_id};
use schemas::values::{ExternalRef, Name};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::reply::Response;

use super::directory::{self, NewUser};
use super::{hash, tokens, unless_taken};
use crate::audit::Entry;
use crate::call::Call;
use crate::credentials::NewPassword;
use crate::error::ApiError;
use crate::orders::text;
use crate::reply;

/// Somebody who accepts an invitation.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct AcceptanceRequest {
    /// What stands in the link behind `#`.
    token: String,
    /// What to call them; needed by who has no user yet.
    #[serde(default)]
    name: Option<String>,
    /// 12 to 200 characters of any kind; needed by who has no user yet.
    #[serde(default)]
    password: Option<String>,
}

/// Who acts for which account now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Acceptance {
    user_id: Uuid,
    account_id: Uuid,
}

/// Accepts an invitation.
pub(crate) async fn accept(call: Call) -> Result<Response, ApiError> {
    let mut fields = call.fields()?;
    let token: Option<ExternalRef> = fields.required("token");
    let name: Option<Name> = fields.optional("name");
    let password: Option<NewPassword> = fields.optional("password");
    let token = fields.finish(token)?;
    let state = &call.state;
    let invitation = find(&call, token.as_str()).await?;
    let email = invitation.email.parse();
    let email = email.map_err(|schemas::values::InvalidValue(reason)| anyhow::anyhow!(reason))?;
    let known = directory::find_user(&state.db, &email).await?;
    // Hashing takes long: not within a transaction.
    let new = match &known {
        Some(_) => None,
        None => {
            let (name, password) = chosen(name, password)?;
            let account = account::Entity::find_by_id(invitation.account_id).one(&state.db);
            let locale = account
                .await?
                .and_then(|account| account.locale.parse().ok());
            Some(NewUser {
                email,
                name,
                locale: locale.unwrap_or_default(),
                password_hash: hash(state, password).await?,
            })
        }
    };

    let transaction = entity::begin(&state.db).await?;
    let taken = invitation::Entity::update_many()
        .col_expr(invitation::Column::AcceptedAt, Expr::value(Utc::now()))
        .filter(invitation::Column::Id.eq(invitation.id))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .exec(&transaction)
        .await?;
    if taken.rows_affected == 0 {
        return Err(tokens::used_up());
    }
    let already = "You act for this account already.";
    let user_id = match (known, new) {
        (Some(user), _) => user.id,
        (None, Some(new)) => {
            let created = directory::create_user(&transaction, new).await;
            created
                .map_err(|error| unless_taken(error, "You have a user already. Try again."))?
                .id
        }
        (None, None) => return Err(tokens::used_up()),
    };
    directory::add_member(
        &transaction,
        invitation.account_id,
        user_id,
        invitation.role,
    )
    .await
    .map_err(|error| unless_taken(error, already))?;
    let entry = Entry {
        actor: format!("user {user_id}"),
        credential: Some(format!("link {}", invitation.id)),
        account_id: Some(invitation.account_id),
        action: "invitation.accept",
        subject: invitation.id.to_string(),
        before: None,
        after: Some(json!({ "user_id": user_id, "role": text(&invitation.role) })),
    };
    entry.write(&transaction).await?;
    transaction.commit().await?;
    let acceptance = Acceptance {
        user_id,
        account_id: invitation.account_id,
    };
    Ok(reply::json(StatusCode::CREATED, &acceptance))
}

/// What somebody chooses who has no user yet.
///
/// # Errors
/// 422 when something of it is missing.
fn chosen(
    name: Option<Name>,
    password: Option<NewPassword>,
) -> Result<(Name, NewPassword), ApiError> {
    let missing = [("name", name.is_none()), ("password", password.is_none())];
    let missing = missing.iter().filter(|(_, missing)| *missing);
    let missing = missing.map(|(field, _)| {
        schemas::problem::FieldError::new(*field, "is required: you have no user yet")
    });
    let missing = missing.collect();
    name.zip(password).ok_or_else(|| ApiError::invalid(missing))
}

/// The invitation in a link, if it counts.
async fn find(call: &Call, token: &str) -> Result<invitation::Model, ApiError> {
    let found = match shown_id(token) {
        Some(id) => {
            invitation::Entity::find_by_id(id)
                .one(&call.state.db)
                .await?
        }
        None => None,
    };
    let counts = |row: &invitation::Model| {
        row.accepted_at.is_none()
            && row.revoked_at.is_none()
            && Utc::now() < row.expires_at
            && (call.state.links).matches(token, LinkFor::Invitation, row.id, row.expires_at)
    };
    match found.filter(counts) {
        Some(row) => Ok(row),
        None => {
            call.state.limits.guessed(call.from).await?;
            Err(tokens::used_up())
        }
    }
}
