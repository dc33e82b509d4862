//! `POST /v1/password-resets`, `POST /v1/password-reset-completions`.

use std::sync::Arc;

use entity::one_time_token::Purpose;
use entity::user;
use schemars::JsonSchema;
use schemas::values::EmailAddress;
use sea_orm::EntityTrait;
use serde::Deserialize;
use tracing::Instrument;
use warp::reply::Response;

use super::me::set_password;
use super::sign_ups::{mailed, token_and_password};
use super::trail::Deed;
use super::{directory, email_key, hash, mails, tokens};
use crate::State;
use crate::call::Call;
use crate::credentials::{accounts, end_others};
use crate::error::ApiError;
use crate::reply;

/// Somebody who does not know their password any more.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct ResetRequest {
    email: String,
}

/// Has a link mailed, if somebody has this address. Says nothing about that, nor does the time it takes:
/// whether there is somebody is found out beside the request.
pub(crate) async fn request(call: Call) -> Result<Response, ApiError> {
    let mut fields = call.fields()?;
    let email: Option<EmailAddress> = fields.required("email");
    let email = fields.finish(email)?;
    call.state
        .limits
        .mail(call.from, &email_key(&email))
        .await?;
    let state = call.state.clone();
    let noting = async move {
        if let Err(error) = note(&state, &email).await {
            tracing::warn!("cannot take the reset of a password in: {error:?}");
        }
    };
    tokio::spawn(noting.in_current_span());
    Ok(mailed())
}

async fn note(state: &Arc<State>, email: &EmailAddress) -> Result<(), ApiError> {
    let transaction = entity::begin(&state.db).await?;
    let found = directory::find_user(&transaction, email).await?;
    let Some(user) = found.filter(|user| user.active) else {
        return Ok(());
    };
    let token = tokens::new(Purpose::Reset, Some(&user));
    tokens::void(&transaction, Purpose::Reset, &user.email_key).await?;
    tokens::insert(&transaction, &token).await?;
    let acting = accounts(&transaction, user.id).await?;
    let mut deed = Deed::by(user.id, "user.password_reset_request");
    deed.credential = Some("nobody".to_owned());
    deed.write(&transaction, &acting).await?;
    let mail = mails::of_token(&transaction, &token).await?;
    transaction.commit().await?;
    mail.send(state);
    Ok(())
}

/// Sets the password that was chosen with the link. Every session ends. The second factor stays: a
/// mailbox is one factor, not two.
pub(crate) async fn complete(call: Call) -> Result<Response, ApiError> {
    let (token, password) = token_and_password(call.fields()?)?;
    let token = tokens::find(&call, &token, Purpose::Reset).await?;
    let state = &call.state;
    let user = user::Entity::find_by_id(token.user_id.unwrap_or_default());
    let user = user.one(&state.db).await?.filter(|user| user.active);
    let user = user.ok_or_else(tokens::used_up)?;
    let password_hash = hash(state, password).await?;
    let transaction = entity::begin(&state.db).await?;
    tokens::take(&transaction, &token).await?;
    tokens::void(&transaction, Purpose::Reset, &token.email_key).await?;
    set_password(&transaction, user.id, password_hash).await?;
    end_others(&transaction, user.id, None).await?;
    let acting = accounts(&transaction, user.id).await?;
    let mut deed = Deed::by(user.id, "user.password_reset");
    deed.credential = Some(format!("link {}", token.id));
    deed.write(&transaction, &acting).await?;
    let notice = tokens::new(Purpose::PasswordChanged, Some(&user));
    tokens::insert(&transaction, &notice).await?;
    let mail = mails::of_token(&transaction, &notice).await?;
    transaction.commit().await?;
    mail.send(state);
    Ok(reply::empty())
}
