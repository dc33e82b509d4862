//! `POST /v1/session/second-factor`, `POST /v1/me/second-factor`, its confirmation and removal, and
//! `POST /v1/me/recovery-codes`.

use chrono::Utc;
use entity::one_time_token::Purpose;
use entity::{recovery_code, user};
use schemars::JsonSchema;
use schemas::values::ExternalRef;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, Set,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use warp::http::StatusCode;
use warp::reply::Response;

use super::mails::{self, Planned};
use super::trail::Deed;
use super::{sessions, tokens, verify};
use crate::call::Call;
use crate::credentials::{GivenPassword, Person, end_others};
use crate::error::ApiError;
use crate::reply;

/// A code of the authenticator, or a recovery code.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct CodeRequest {
    code: String,
}

/// Who wants a second factor says the password again.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct EnrolmentRequest {
    password: String,
}

/// What an authenticator is to be given, for the only time.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EnrolmentItem {
    /// The secret in base 32, to be typed.
    secret: String,
    /// The same as an `otpauth` URL, to be shown as a QR code.
    url: String,
}

/// Codes that stand in for the second factor, once each. They are not shown again.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

/// What somebody proved with a code: the names of RFC 8176, and `rec` for a recovery code.
enum Proved {
    Totp,
    Recovery,
}

impl Proved {
    fn amr(&self) -> &'static str {
        match self {
            Self::Totp => "pwd otp",
            Self::Recovery => "pwd rec",
        }
    }
}

/// Gives the second factor of a session that lacks it.
pub(crate) async fn give(call: Call) -> Result<Response, ApiError> {
    let (state, person) = (&call.state, call.person()?);
    let code = code(&call)?;
    if !person.session.second_factor_due {
        return Err(ApiError::conflict("This session needs no second factor."));
    }
    let transaction = entity::begin(&state.db).await?;
    let proved = prove(&call, &transaction, &code).await?;
    let amr = proved.amr();
    let token = state.sessions.renew(&transaction, person, amr).await?;
    let after = Some(serde_json::json!({ "amr": amr }));
    let deed = Deed::of(person, "session.second_factor").changed(None, after);
    deed.write(&transaction, &person.accounts).await?;
    transaction.commit().await?;
    state.sessions.forget(person).await;
    sessions::renewed(state, StatusCode::OK, &token).await
}

/// Makes the secret of a second factor, which counts once it is confirmed.
pub(crate) async fn enrol(call: Call) -> Result<Response, ApiError> {
    let (state, person) = (&call.state, call.person()?);
    let mut fields = call.fields()?;
    let password = fields.required::<GivenPassword>("password");
    let password = fields.finish(password)?;
    if person.user.totp_confirmed_at.is_some() {
        return Err(ApiError::conflict(
            "There is a second factor. Remove it first.",
        ));
    }
    state.limits.password(person.user.id).await?;
    if !verify(state, password, person.user.password_hash.as_deref()).await? {
        return Err(ApiError::wrong_field("password", "is wrong"));
    }
    let enrolment = state
        .second_factors
        .enrol(person.user.id, &person.user.email)?;
    let transaction = entity::begin(&state.db).await?;
    let stored = user::Entity::update_many()
        .col_expr(user::Column::TotpSecret, Expr::value(enrolment.sealed))
        .col_expr(user::Column::TotpLastStep, Expr::value(None::<i64>))
        .filter(user::Column::Id.eq(person.user.id))
        .filter(user::Column::TotpConfirmedAt.is_null())
        .exec(&transaction)
        .await?;
    if stored.rows_affected == 0 {
        return Err(ApiError::conflict(
            "There is a second factor. Remove it first.",
        ));
    }
    let deed = Deed::of(person, "user.second_factor_enrol");
    deed.write(&transaction, &person.accounts).await?;
    transaction.commit().await?;
    state.sessions.forget(person).await;
    let item = EnrolmentItem {
        secret: enrolment.secret,
        url: enrolment.url,
    };
    Ok(reply::json(StatusCode::CREATED, &item))
}

/// Has the second factor asked for from now on, once a code shows that the authenticator has it.
pub(crate) async fn confirm(call: Call) -> Result<Response, ApiError> {
    let (state, person) = (&call.state, call.person()?);
    let code = code(&call)?;
    let user = user::Entity::find_by_id(person.user.id)
        .one(&state.db)
        .await?;
    let user = user.ok_or_else(|| ApiError::not_found("person"))?;
    if user.totp_secret.is_none() || user.totp_confirmed_at.is_some() {
        return Err(ApiError::conflict(
            "No second factor waits to be confirmed.",
        ));
    }
    let transaction = entity::begin(&state.db).await?;
    prove(&call, &transaction, &code).await?;
    user::Entity::update_many()
        .col_expr(user::Column::TotpConfirmedAt, Expr::value(Utc::now()))
        .filter(user::Column::Id.eq(user.id))
        .exec(&transaction)
        .await?;
    let codes = new_codes(&call, &transaction).await?;
    end_others(&transaction, user.id, Some(person.session.id)).await?;
    let token = state
        .sessions
        .renew(&transaction, person, Proved::Totp.amr())
        .await?;
    let mail = changed(&transaction, person, "user.second_factor_confirm").await?;
    transaction.commit().await?;
    state.sessions.forget(person).await;
    mail.send(state);
    let mut response = reply::json(StatusCode::OK, &codes);
    sessions::set_cookie(state, &mut response, &token);
    Ok(response)
}

/// Removes the second factor. The other sessions end.
pub(crate) async fn remove(call: Call) -> Result<Response, ApiError> {
    let (state, person) = (&call.state, call.person()?);
    let code = code(&call)?;
    must_have(person)?;
    let transaction = entity::begin(&state.db).await?;
    prove(&call, &transaction, &code).await?;
    user::Entity::update_many()
        .col_expr(user::Column::TotpSecret, Expr::value(None::<String>))
        .col_expr(
            user::Column::TotpConfirmedAt,
            Expr::value(None::<chrono::DateTime<Utc>>),
        )
        .filter(user::Column::Id.eq(person.user.id))
        .exec(&transaction)
        .await?;
    drop_codes(&transaction, person.user.id).await?;
    end_others(&transaction, person.user.id, Some(person.session.id)).await?;
    let token = state.sessions.renew(&transaction, person, "pwd").await?;
    let mail = changed(&transaction, person, "user.second_factor_remove").await?;
    transaction.commit().await?;
    state.sessions.forget(person).await;
    mail.send(state);
    let mut response = reply::empty();
    sessions::set_cookie(state, &mut response, &token);
    Ok(response)
}

/// Makes new recovery codes; the old ones do not count any more.
pub(crate) async fn recovery_codes(call: Call) -> Result<Response, ApiError> {
    let (state, person) = (&call.state, call.person()?);
    let code = code(&call)?;
    must_have(person)?;
    let transaction = entity::begin(&state.db).await?;
    prove(&call, &transaction, &code).await?;
    let codes = new_codes(&call, &transaction).await?;
    let mail = changed(&transaction, person, "user.recovery_codes").await?;
    transaction.commit().await?;
    mail.send(state);
    Ok(reply::json(StatusCode::OK, &codes))
}

fn must_have(person: &Person) -> Result<(), ApiError> {
    match person.user.totp_confirmed_at {
        Some(_) => Ok(()),
        None => Err(ApiError::conflict("There is no second factor.")),
    }
}

fn code(call: &Call) -> Result<String, ApiError> {
    let mut fields = call.fields()?;
    let code = fields.required::<ExternalRef>("code");
    Ok(fields.finish(code)?.into())
}

/// Uses a code up, whichever kind it is of: a step of the authenticator, or a recovery code. Neither
/// counts twice, even at the same time.
///
/// # Errors
/// 422 when it is wrong or was used, 429 after too many.
async fn prove(call: &Call, db: &DatabaseTransaction, code: &str) -> Result<Proved, ApiError> {
    let (state, person) = (&call.state, call.person()?);
    state.limits.code(person.user.id).await?;
    let user = user::Entity::find_by_id(person.user.id).one(db).await?;
    let sealed = user.and_then(|user| user.totp_secret).unwrap_or_default();
    let step = state.second_factors.step(person.user.id, &sealed, code)?;
    let (used, proved) = match step {
        Some(step) => {
            let last = user::Column::TotpLastStep;
            let new = last.is_null().or(last.into_expr().lt(step));
            let used = user::Entity::update_many()
                .col_expr(last, Expr::value(step))
                .filter(user::Column::Id.eq(person.user.id))
                .filter(new)
                .exec(db);
            (used.await?, Proved::Totp)
        }
        None => {
            let hash = state.second_factors.recovery_hash(code);
            let used = recovery_code::Entity::update_many()
                .col_expr(recovery_code::Column::UsedAt, Expr::value(Utc::now()))
                .filter(recovery_code::Column::UserId.eq(person.user.id))
                .filter(recovery_code::Column::Hash.eq(hash))
                .filter(recovery_code::Column::UsedAt.is_null())
                .exec(db);
            (used.await?, Proved::Recovery)
        }
    };
    match used.rows_affected {
        0 => Err(ApiError::wrong_field(
            "code",
            "is wrong, or was used already",
        )),
        _ => Ok(proved),
    }
}

async fn new_codes(call: &Call, db: &impl ConnectionTrait) -> Result<RecoveryCodes, ApiError> {
    let user_id = call.person()?.user.id;
    drop_codes(db, user_id).await?;
    let (codes, hashes): (Vec<_>, Vec<_>) = call
        .state
        .second_factors
        .recovery_codes()?
        .into_iter()
        .unzip();
    let rows = hashes.into_iter().map(|hash| recovery_code::ActiveModel {
        id: Set(Uuid::now_v7()),
        user_id: Set(user_id),
        hash: Set(hash),
        used_at: Set(None),
    });
    let insert = recovery_code::Entity::insert_many(rows);
    insert.exec_without_returning(db).await?;
    Ok(RecoveryCodes {
        recovery_codes: codes,
    })
}

async fn drop_codes(db: &impl ConnectionTrait, user_id: Uuid) -> Result<(), ApiError> {
    recovery_code::Entity::delete_many()
        .filter(recovery_code::Column::UserId.eq(user_id))
        .exec(db)
        .await?;
    Ok(())
}

/// Writes a change of the second factor down, and plans the mail that tells the person.
async fn changed(
    db: &impl ConnectionTrait,
    person: &Person,
    action: &'static str,
) -> Result<Planned, ApiError> {
    let deed = Deed::of(person, action);
    deed.write(db, &person.accounts).await?;
    let notice = tokens::new(Purpose::SecondFactorChanged, Some(&person.user));
    tokens::insert(db, &notice).await?;
    Ok(mails::of_token(db, &notice).await?)
}
