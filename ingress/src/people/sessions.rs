//! `POST`, `GET` and `DELETE /v1/session`.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use entity::membership::Role;
use entity::{session, user};
use schemars::JsonSchema;
use schemas::values::EmailAddress;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::http::header::SET_COOKIE;
use warp::http::{HeaderName, HeaderValue};
use warp::reply::Response;

use super::trail::Deed;
use super::{directory, email_key, verify};
use crate::State;
use crate::call::Call;
use crate::credentials::{GivenPassword, Person, accounts};
use crate::error::ApiError;
use crate::orders::text;
use crate::reply;
use crate::schema::States;

/// How long a browser is known in which somebody has logged in.
const DEVICE: TimeDelta = TimeDelta::days(365);

/// A log-in.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "LogIn")]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct LogInRequest {
    email: String,
    password: String,
}

/// Who is logged in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(crate) struct SessionItem {
    /// What requests that change something send in `X-CSRF-Token`. Another one after each log-in and
    /// second factor, and when the password changes.
    csrf_token: String,
    /// Whether the second factor is still to be given: until then nothing else works.
    second_factor_due: bool,
    /// When it ends at the latest. Not used for two hours, it ends earlier.
    expires_at: DateTime<Utc>,
    user_id: Uuid,
    email: String,
    name: String,
    /// The accounts that the person acts for. With several, requests name one in `Account-Id`.
    accounts: Vec<ActingItem>,
}

/// An account that a person acts for.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Acting")]
pub(crate) struct ActingItem {
    account_id: Uuid,
    /// What the account is called.
    name: String,
    #[schemars(with = "States<Role>")]
    role: String,
    /// What the person may do for it.
    scopes: Vec<&'static str>,
}

/// Begins a session.
pub(crate) async fn log_in(call: Call) -> Result<Response, ApiError> {
    let mut fields = call.fields()?;
    let email = fields.required::<EmailAddress>("email");
    let password = fields.required::<GivenPassword>("password");
    let (email, password) = fields.finish(email.zip(password))?;
    let state = &call.state;
    let found = directory::find_user(&state.db, &email).await?;
    let user = found.filter(|user| user.active);
    let device = user.as_ref().and_then(|user| device_of(&call, user));
    if device.is_none() && state.limits.is_barred(call.from) {
        state.limits.guessed(call.from).await?;
    }
    let whom = email_key(&email);
    state.limits.log_in(&whom, device.as_deref()).await?;
    let hash = user.as_ref().and_then(|user| user.password_hash.as_deref());
    let right = verify(state, password, hash).await?;
    let Some(user) = user.as_ref().filter(|_| right) else {
        if let Some(user) = user {
            note_failure(state, user.id);
        }
        state.limits.guessed(call.from).await?;
        // Which of the two it is helps those who guess alone.
        return Err(ApiError::unauthorized(
            "The address or the password is wrong.",
        ));
    };

    let transaction = entity::begin(&state.db).await?;
    let (id, token) = state.sessions.begin(&transaction, user).await?;
    user::Entity::update_many()
        .col_expr(user::Column::FailedLogIns, Expr::value(0))
        .filter(user::Column::Id.eq(user.id))
        .exec(&transaction)
        .await?;
    let acting = accounts(&transaction, user.id).await?;
    let mut deed = Deed::by(user.id, "session.begin");
    deed.credential = Some(format!("session {id}"));
    let due = user.totp_confirmed_at.is_some();
    let deed = deed.changed(None, Some(json!({ "second_factor_due": due })));
    deed.write(&transaction, &acting).await?;
    transaction.commit().await?;
    let mut response = renewed(state, StatusCode::CREATED, &token).await?;
    let cookies = state.cookies;
    let device = cookies.set(cookies.device(), &device_value(state, user), Some(DEVICE));
    append(&mut response, SET_COOKIE, &device);
    Ok(response)
}

/// Shows the session.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    Ok(reply::ok(&item(call.person()?)))
}

/// Ends the session.
pub(crate) async fn log_out(call: Call) -> Result<Response, ApiError> {
    let (state, person) = (&call.state, call.person()?);
    let transaction = entity::begin(&state.db).await?;
    session::Entity::update_many()
        .col_expr(session::Column::EndedAt, Expr::value(Utc::now()))
        .filter(session::Column::Id.eq(person.session.id))
        .exec(&transaction)
        .await?;
    let deed = Deed::of(person, "session.end");
    deed.write(&transaction, &person.accounts).await?;
    transaction.commit().await?;
    state.sessions.forget(person).await;
    let mut response = reply::empty();
    let cookies = state.cookies;
    let gone = cookies.set(cookies.session(), "", Some(TimeDelta::zero()));
    append(&mut response, SET_COOKIE, &gone);
    Ok(response)
}

/// The session with a new token, which the browser keeps from now on.
pub(super) async fn renewed(
    state: &State,
    status: StatusCode,
    token: &str,
) -> Result<Response, ApiError> {
    let person = state.sessions.read_now(token).await?;
    let mut response = reply::json(status, &item(&person));
    set_cookie(state, &mut response, token);
    Ok(response)
}

/// Has the browser keep a token.
pub(super) fn set_cookie(state: &State, response: &mut Response, token: &str) {
    let cookies = state.cookies;
    let cookie = cookies.set(cookies.session(), token, None);
    append(response, SET_COOKIE, &cookie);
}

fn append(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
}

/// What the cookie of a browser holds in which somebody has logged in: it proves nothing but that, and
/// not any more once the password is another one.
/// <https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies>
fn device_value(state: &State, user: &user::Model) -> String {
    let hash = user.password_hash.as_deref().unwrap_or_default();
    state.pepper.hash(&format!("device {} {hash}", user.id))
}

/// The value of that cookie, if the browser has it.
fn device_of(call: &Call, user: &user::Model) -> Option<String> {
    let cookies = call.state.cookies;
    let given = cookies.find(cookies.device(), &call.headers)?;
    let value = device_value(&call.state, user);
    (given == value).then_some(value)
}

/// Counts a log-in that failed, beside the request.
fn note_failure(state: &Arc<State>, user_id: Uuid) {
    let note = user::Entity::update_many()
        .col_expr(
            user::Column::FailedLogIns,
            user::Column::FailedLogIns.into_expr().add(1),
        )
        .filter(user::Column::Id.eq(user_id));
    tracing::info!(user.id = %user_id, "a log-in failed");
    let db = state.db.clone();
    tokio::spawn(async move {
        if let Err(error) = note.exec(&db).await {
            tracing::debug!("cannot count a log-in that failed: {error}");
        }
    });
}

fn item(person: &Person) -> SessionItem {
    SessionItem {
        csrf_token: person.csrf_token.clone(),
        second_factor_due: person.session.second_factor_due,
        expires_at: person.session.expires_at,
        user_id: person.user.id,
        email: person.user.email.clone(),
        name: person.user.name.clone(),
        accounts: match person.session.second_factor_due {
            true => Vec::new(),
            false => person.accounts.iter().map(ActingItem::of).collect(),
        },
    }
}

impl ActingItem {
    pub(super) fn of(acting: &crate::credentials::Acting) -> Self {
        let scopes = crate::credentials::scopes_of(acting.role);
        Self {
            account_id: acting.account_id,
            name: acting.name.clone(),
            role: text(&acting.role),
            scopes: scopes.into_iter().map(|scope| scope.as_str()).collect(),
        }
    }
}
