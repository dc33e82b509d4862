//! `GET` and `PATCH /v1/me`, `PUT /v1/me/password`.

use chrono::{DateTime, Utc};
use entity::one_time_token::Purpose;
use entity::user;
use schemars::JsonSchema;
use schemas::values::{Locale, Name};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, Set,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::reply::Response;

use super::sessions::{self, ActingItem};
use super::trail::Deed;
use super::{hash, mails, tokens, verify};
use crate::call::Call;
use crate::credentials::{GivenPassword, NewPassword, end_others};
use crate::error::ApiError;
use crate::reply;

/// The person who is logged in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Me")]
pub(crate) struct MeItem {
    id: Uuid,
    email: String,
    name: String,
    /// Language of mails: `en`, `de`, `fr`.
    locale: String,
    /// Whether a second factor is asked for.
    second_factor: bool,
    accounts: Vec<ActingItem>,
    created_at: DateTime<Utc>,
}

/// What changes about a person. What is not mentioned stays.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct MePatch {
    name: Option<String>,
    locale: Option<String>,
}

/// Another password.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct PasswordChange {
    current_password: String,
    /// 12 to 200 characters of any kind.
    password: String,
}

/// Shows the person.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let person = call.person()?;
    let accounts = person.accounts.iter().map(ActingItem::of).collect();
    Ok(reply::ok(&item(person.user.clone(), accounts)))
}

/// Changes the person.
pub(crate) async fn change(call: Call) -> Result<Response, ApiError> {
    let person = call.person()?;
    let mut fields = call.fields()?;
    let name = fields.changed::<Name>("name");
    let locale = fields.changed::<Locale>("locale");
    fields.finish(Some(()))?;
    let shown = |user: &user::Model| Some(json!({ "name": user.name, "locale": user.locale }));
    let mut row = person.user.clone().into_active_model();
    if let Some(name) = name {
        row.name = Set(name.into());
    }
    if let Some(locale) = locale {
        row.locale = Set(locale.to_string());
    }
    let transaction = entity::begin(&call.state.db).await?;
    let user = match row.is_changed() {
        true => row.update(&transaction).await?,
        false => person.user.clone(),
    };
    let deed = Deed::of(person, "user.change").changed(shown(&person.user), shown(&user));
    deed.write(&transaction, &person.accounts).await?;
    transaction.commit().await?;
    call.state.sessions.forget(person).await;
    let accounts = person.accounts.iter().map(ActingItem::of).collect();
    Ok(reply::ok(&item(user, accounts)))
}

/// Changes the password. The other sessions end, this one goes on with another token.
pub(crate) async fn change_password(call: Call) -> Result<Response, ApiError> {
    let (state, person) = (&call.state, call.person()?);
    let mut fields = call.fields()?;
    let current = fields.required::<GivenPassword>("current_password");
    let password = fields.required::<NewPassword>("password");
    let (current, password) = fields.finish(current.zip(password))?;
    state.limits.password(person.user.id).await?;
    if !verify(state, current, person.user.password_hash.as_deref()).await? {
        return Err(ApiError::wrong_field("current_password", "is wrong"));
    }
    let password_hash = hash(state, password).await?;
    let transaction = entity::begin(&state.db).await?;
    set_password(&transaction, person.user.id, password_hash).await?;
    tokens::void(&transaction, Purpose::Reset, &person.user.email_key).await?;
    end_others(&transaction, person.user.id, Some(person.session.id)).await?;
    let amr = &person.session.amr;
    let token = state.sessions.renew(&transaction, person, amr).await?;
    let deed = Deed::of(person, "user.password_change");
    deed.write(&transaction, &person.accounts).await?;
    let notice = tokens::new(Purpose::PasswordChanged, Some(&person.user));
    tokens::insert(&transaction, &notice).await?;
    let mail = mails::of_token(&transaction, &notice).await?;
    transaction.commit().await?;
    state.sessions.forget(person).await;
    mail.send(state);
    sessions::renewed(state, StatusCode::OK, &token).await
}

/// Stores another password.
pub(super) async fn set_password(
    db: &impl ConnectionTrait,
    user_id: Uuid,
    hash: String,
) -> Result<(), DbErr> {
    user::Entity::update_many()
        .col_expr(user::Column::PasswordHash, Expr::value(hash))
        .col_expr(user::Column::FailedLogIns, Expr::value(0))
        .filter(user::Column::Id.eq(user_id))
        .exec(db)
        .await?;
    Ok(())
}

fn item(user: user::Model, accounts: Vec<ActingItem>) -> MeItem {
    MeItem {
        id: user.id,
        email: user.email,
        name: user.name,
        locale: user.locale,
        second_factor: user.totp_confirmed_at.is_some(),
        accounts,
        created_at: user.created_at,
    }
}
