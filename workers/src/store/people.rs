//! What mails to people tell of.

use entity::{account, invitation, one_time_token, user};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait};
use uuid::Uuid;

/// A token, with whom it is for if they are known already.
pub(crate) async fn token(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<(one_time_token::Model, Option<user::Model>)>, DbErr> {
    let Some(token) = one_time_token::Entity::find_by_id(id).one(db).await? else {
        return Ok(None);
    };
    let user = match token.user_id {
        Some(id) => user::Entity::find_by_id(id).one(db).await?,
        None => None,
    };
    Ok(Some((token, user)))
}

/// An invitation, with the account that it is to.
pub(crate) async fn invitation(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<(invitation::Model, account::Model)>, DbErr> {
    let Some(invitation) = invitation::Entity::find_by_id(id).one(db).await? else {
        return Ok(None);
    };
    let account = super::catalog::account(db, invitation.account_id).await?;
    Ok(account.map(|account| (invitation, account)))
}
