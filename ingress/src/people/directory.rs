//! People as the operator sees them: created, listed and let in again.

use chrono::Utc;
use entity::membership::Role;
use entity::{membership, recovery_code, user};
use schemas::values::{EmailAddress, Locale, Name};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder, Set,
};
use uuid::Uuid;

use super::email_key;
use crate::credentials::end_others;

/// A person to be created, whose address is known to be theirs.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Their address.
    pub email: EmailAddress,
    /// What to call them.
    pub name: Name,
    /// The language of mails to them.
    pub locale: Locale,
    /// Argon2id, as a PHC string.
    pub password_hash: String,
}

/// Creates a person.
///
/// # Errors
/// When there is somebody with this address, or the database cannot be reached.
pub async fn create_user(db: &impl ConnectionTrait, new: NewUser) -> Result<user::Model, DbErr> {
    let now = Utc::now();
    let row = user::Model {
        id: Uuid::now_v7(),
        email_key: email_key(&new.email),
        email: new.email.into(),
        name: new.name.into(),
        locale: new.locale.to_string(),
        password_hash: Some(new.password_hash),
        email_confirmed_at: now,
        totp_secret: None,
        totp_confirmed_at: None,
        totp_last_step: None,
        failed_log_ins: 0,
        active: true,
        created_at: now,
    };
    let insert = user::Entity::insert(row.clone().into_active_model().reset_all());
    insert.exec_without_returning(db).await?;
    Ok(row)
}

/// The person with an address.
///
/// # Errors
/// When the database cannot be reached.
pub async fn find_user(
    db: &impl ConnectionTrait,
    email: &EmailAddress,
) -> Result<Option<user::Model>, DbErr> {
    user::Entity::find()
        .filter(user::Column::EmailKey.eq(email_key(email)))
        .one(db)
        .await
}

/// Lets a person act for an account.
///
/// # Errors
/// When they do already, there is no such account, or the database cannot be reached.
pub async fn add_member(
    db: &impl ConnectionTrait,
    account_id: Uuid,
    user_id: Uuid,
    role: Role,
) -> Result<(), DbErr> {
    let row = membership::ActiveModel {
        account_id: Set(account_id),
        user_id: Set(user_id),
        role: Set(role),
        created_at: Set(Utc::now()),
    };
    membership::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Everybody who acts for an account, or everybody there is, by address, each with their role.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list_users(
    db: &DatabaseConnection,
    account_id: Option<Uuid>,
) -> Result<Vec<(user::Model, Vec<membership::Model>)>, DbErr> {
    let people = user::Entity::find().order_by_asc(user::Column::EmailKey);
    let members = membership::Entity::find().all(db).await?;
    let mut list = Vec::new();
    for person in people.all(db).await? {
        let own = members.iter().filter(|member| member.user_id == person.id);
        let own: Vec<_> = own.cloned().collect();
        let wanted = account_id.is_none_or(|id| own.iter().any(|own| own.account_id == id));
        if wanted {
            list.push((person, own));
        }
    }
    Ok(list)
}

/// Takes the second factor of somebody who has lost it, and ends their sessions. False if they have
/// none.
///
/// # Errors
/// When the database cannot be reached.
pub async fn reset_second_factor(db: &impl ConnectionTrait, user_id: Uuid) -> Result<bool, DbErr> {
    let removed = user::Entity::update_many()
        .col_expr(user::Column::TotpSecret, Expr::value(None::<String>))
        .col_expr(
            user::Column::TotpConfirmedAt,
            Expr::value(None::<chrono::DateTime<Utc>>),
        )
        .filter(user::Column::Id.eq(user_id))
        .filter(user::Column::TotpSecret.is_not_null())
        .exec(db)
        .await?;
    recovery_code::Entity::delete_many()
        .filter(recovery_code::Column::UserId.eq(user_id))
        .exec(db)
        .await?;
    end_others(db, user_id, None).await?;
    Ok(removed.rows_affected > 0)
}
