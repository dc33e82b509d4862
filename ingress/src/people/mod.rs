//! People: how they sign up, log in and prove who they are, which accounts they act for and as what,
//! and whom the invoices of an account go to. Synchronous, written to the database; only mails go
//! through the broker.

mod contacts;
pub mod directory;
mod invitation_acceptances;
mod invitations;
mod mails;
mod me;
mod password_resets;
mod routes;
mod second_factor;
mod sessions;
mod sign_ups;
mod tokens;
mod trail;
mod users;

pub(crate) use routes::routes;

use schemas::values::EmailAddress;
use sea_orm::{DbErr, SqlErr};

use crate::State;
use crate::credentials::{GivenPassword, NewPassword};
use crate::error::ApiError;

/// What an address is known by: in lower case. Mail servers could tell cases apart (RFC 5321 §2.4);
/// none does, and people do not either.
fn email_key(email: &EmailAddress) -> String {
    email.as_str().to_lowercase()
}

/// What is stored of a password.
async fn hash(state: &State, password: NewPassword) -> Result<String, ApiError> {
    state.passwords.hash(password).await.map_err(busy)
}

/// Whether it is the password with this hash.
async fn verify(
    state: &State,
    password: GivenPassword,
    hash: Option<&str>,
) -> Result<bool, ApiError> {
    state.passwords.verify(password, hash).await.map_err(busy)
}

fn busy(error: anyhow::Error) -> ApiError {
    tracing::warn!("cannot work on a password: {error:#}");
    ApiError::unavailable("Passwords cannot be checked at the moment. Try again.")
}

/// 409 with this text when a row is there already.
fn unless_taken(error: DbErr, detail: &str) -> ApiError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => ApiError::conflict(detail),
        _ => error.into(),
    }
}
