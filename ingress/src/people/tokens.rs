//! What links in mails prove: one-time tokens.

use chrono::{TimeDelta, Utc};
use entity::one_time_token::{self, Purpose};
use entity::user;
use schemas::link::{LinkFor, shown_id};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter,
};
use uuid::Uuid;

use crate::call::Call;
use crate::error::ApiError;

/// How long links count.
const CONFIRM: TimeDelta = TimeDelta::hours(24);
const RESET: TimeDelta = TimeDelta::hours(1);

/// A token for somebody, or a reason to write to them.
pub(super) fn new(purpose: Purpose, user: Option<&user::Model>) -> one_time_token::Model {
    let now = Utc::now();
    let life = match purpose {
        Purpose::Confirm => CONFIRM,
        Purpose::Reset => RESET,
        // They have no link.
        Purpose::Known | Purpose::PasswordChanged | Purpose::SecondFactorChanged => {
            TimeDelta::zero()
        }
    };
    let of = |field: fn(&user::Model) -> &String| user.map(field).cloned().unwrap_or_default();
    one_time_token::Model {
        id: Uuid::now_v7(),
        purpose,
        email: of(|user| &user.email),
        email_key: of(|user| &user.email_key),
        user_id: user.map(|user| user.id),
        locale: of(|user| &user.locale),
        content: None,
        expires_at: now + life,
        used_at: None,
        created_at: now,
    }
}

/// Stores a token.
pub(super) async fn insert(
    db: &impl ConnectionTrait,
    token: &one_time_token::Model,
) -> Result<(), DbErr> {
    let row = token.clone().into_active_model().reset_all();
    one_time_token::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// The token in a link, if it counts.
///
/// # Errors
/// 422 for everything else, whatever is wrong with it; 429 after too many of them.
pub(super) async fn find(
    call: &Call,
    given: &str,
    purpose: Purpose,
) -> Result<one_time_token::Model, ApiError> {
    let found = match shown_id(given) {
        Some(id) => {
            one_time_token::Entity::find_by_id(id)
                .one(&call.state.db)
                .await?
        }
        None => None,
    };
    let counts = |token: &one_time_token::Model| {
        token.purpose == purpose
            && token.used_at.is_none()
            && Utc::now() < token.expires_at
            && (call.state.links).matches(given, LinkFor::Token, token.id, token.expires_at)
    };
    match found.filter(counts) {
        Some(token) => Ok(token),
        None => {
            call.state.limits.guessed(call.from).await?;
            Err(used_up())
        }
    }
}

/// Uses a token, once.
///
/// # Errors
/// 422 when somebody else was faster.
pub(super) async fn take(
    db: &impl ConnectionTrait,
    token: &one_time_token::Model,
) -> Result<(), ApiError> {
    let taken = one_time_token::Entity::update_many()
        .col_expr(one_time_token::Column::UsedAt, Expr::value(Utc::now()))
        // What was asked for is not kept longer than it is needed.
        .col_expr(one_time_token::Column::Content, Expr::value(None::<String>))
        .filter(one_time_token::Column::Id.eq(token.id))
        .filter(one_time_token::Column::UsedAt.is_null())
        .exec(db)
        .await?;
    match taken.rows_affected {
        0 => Err(used_up()),
        _ => Ok(()),
    }
}

/// Makes every link for this that an address has worthless: a newer one takes their place, or what
/// they were for has happened.
pub(super) async fn void(
    db: &impl ConnectionTrait,
    purpose: Purpose,
    email_key: &str,
) -> Result<(), DbErr> {
    one_time_token::Entity::update_many()
        .col_expr(one_time_token::Column::UsedAt, Expr::value(Utc::now()))
        .col_expr(one_time_token::Column::Content, Expr::value(None::<String>))
        .filter(one_time_token::Column::Purpose.eq(purpose))
        .filter(one_time_token::Column::EmailKey.eq(email_key))
        .filter(one_time_token::Column::UsedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// 422: a link that does not count.
pub(super) fn used_up() -> ApiError {
    ApiError::wrong_field("token", "does not count (any more); ask for a new one")
}
