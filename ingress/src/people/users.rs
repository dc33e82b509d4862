//! `GET /v1/users`, `GET`, `PATCH` and `DELETE /v1/users/{id}`: who acts for the account.

use chrono::{DateTime, Utc};
use entity::membership::{self, Role};
use entity::{account, invitation, user};
use schemars::JsonSchema;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait,
    IntoActiveModel, JoinType, PaginatorTrait, QueryFilter, QuerySelect, Set,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use warp::reply::Response;

use crate::audit::Change;
use crate::call::Call;
use crate::credentials::Scope;
use crate::error::ApiError;
use crate::orders::text;
use crate::page::{Page, PageRequest};
use crate::reply;
use crate::schema::States;

/// Somebody who acts for the account.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub(crate) struct UserItem {
    id: Uuid,
    email: String,
    name: String,
    #[schemars(with = "States<Role>")]
    role: String,
    /// Whether a second factor is asked for when they log in.
    second_factor: bool,
    /// Since when they act for the account.
    created_at: DateTime<Utc>,
    links: UserLinks,
}

/// Where somebody is.
#[derive(Serialize, JsonSchema)]
struct UserLinks {
    #[serde(rename = "self")]
    own: String,
}

/// Another role.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct RoleChange {
    /// What they may do from now on.
    #[schemars(with = "States<Role>")]
    role: String,
}

/// Lists who acts for the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = call.query();
    let page = PageRequest::<Uuid>::read(&mut query);
    let page = query.finish(page)?;
    let rows = members(call.account()?);
    let rows = page.of(
        rows,
        membership::Column::CreatedAt,
        membership::Column::UserId,
    );
    let rows = rows.select_also(user::Entity).all(&call.state.db).await?;
    let key = |(member, _): &Row| (member.created_at, member.user_id);
    Ok(reply::ok(&Page::new(rows, page, key, item)))
}

/// Shows somebody who acts for the account.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    Ok(reply::ok(&item(own(&call, &call.state.db).await?)))
}

/// Gives somebody another role.
pub(crate) async fn change(call: Call) -> Result<Response, ApiError> {
    let transaction = entity::begin(&call.state.db).await?;
    lock(&transaction, call.account()?).await?;
    let before = own(&call, &transaction).await?;
    let mut fields = call.fields()?;
    let role = fields.required_one_of::<Role>("role");
    let role = fields.finish(role)?;
    let caller = call.caller()?;
    // Who may do less takes nothing from who may do more, either.
    if !caller.may_give(role) || !caller.may_give(before.0.role) {
        return Err(ApiError::role_exceeds());
    }
    if role != Role::Owner {
        must_leave_an_owner(&transaction, &before.0).await?;
    }
    let mut row = before.0.clone().into_active_model();
    row.role = Set(role);
    let after = (row.update(&transaction).await?, before.1.clone());
    take_back_invitations(&transaction, &before.0).await?;
    let (before, after) = (item(before), item(after));
    let change = Change {
        caller,
        action: "user.role",
        subject: before.id.to_string(),
        before: Some(json!(before)),
        after: Some(json!(after)),
    };
    change.write(&transaction).await?;
    transaction.commit().await?;
    Ok(reply::ok(&after))
}

/// Removes somebody from the account. Everybody may remove themselves.
pub(crate) async fn remove(call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let myself = caller.person.map(|(user_id, _)| user_id);
    let leaves = myself.is_some() && myself == call.id("user").ok();
    if !leaves {
        caller.require(Scope::UsersWrite)?;
    }
    let transaction = entity::begin(&call.state.db).await?;
    lock(&transaction, caller.account_id).await?;
    let before = own(&call, &transaction).await?;
    if !leaves && !caller.may_give(before.0.role) {
        return Err(ApiError::role_exceeds());
    }
    must_leave_an_owner(&transaction, &before.0).await?;
    let row = before.0.clone().into_active_model();
    row.delete(&transaction).await?;
    take_back_invitations(&transaction, &before.0).await?;
    let before = item(before);
    let change = Change {
        caller,
        action: if leaves { "user.leave" } else { "user.remove" },
        subject: before.id.to_string(),
        before: Some(json!(before)),
        after: None,
    };
    change.write(&transaction).await?;
    transaction.commit().await?;
    if let Some(person) = &call.person {
        call.state.sessions.forget(person).await;
    }
    Ok(reply::empty())
}

type Row = (membership::Model, Option<user::Model>);

fn members(account_id: Uuid) -> sea_orm::Select<membership::Entity> {
    let join = membership::Entity::belongs_to(user::Entity)
        .from(membership::Column::UserId)
        .to(user::Column::Id)
        .into();
    membership::Entity::find()
        .join(JoinType::InnerJoin, join)
        .filter(membership::Column::AccountId.eq(account_id))
}

/// The person in the path, if they act for the account.
async fn own(call: &Call, db: &impl ConnectionTrait) -> Result<Row, ApiError> {
    let rows = members(call.account()?).filter(membership::Column::UserId.eq(call.id("user")?));
    let found = rows.select_also(user::Entity).one(db).await?;
    found.ok_or_else(|| ApiError::not_found("user"))
}

/// Of two changes of who acts for an account at once, the second one sees what the first one did.
async fn lock(db: &DatabaseTransaction, account_id: Uuid) -> Result<(), DbErr> {
    account::Entity::find_by_id(account_id)
        .lock_exclusive()
        .one(db)
        .await?;
    Ok(())
}

/// # Errors
/// 409 for the last owner. The account is locked.
async fn must_leave_an_owner(
    db: &DatabaseTransaction,
    member: &membership::Model,
) -> Result<(), ApiError> {
    if member.role != Role::Owner {
        return Ok(());
    }
    let owners = membership::Entity::find()
        .filter(membership::Column::AccountId.eq(member.account_id))
        .filter(membership::Column::Role.eq(Role::Owner))
        .count(db)
        .await?;
    match owners {
        0 | 1 => Err(ApiError::conflict(
            "This is the last owner of the account. Make somebody else an owner first.",
        )),
        _ => Ok(()),
    }
}

/// Whom somebody has invited is not let in any more by somebody who may do less.
async fn take_back_invitations(
    db: &DatabaseTransaction,
    member: &membership::Model,
) -> Result<(), DbErr> {
    invitation::Entity::update_many()
        .col_expr(invitation::Column::RevokedAt, Expr::value(Utc::now()))
        .filter(invitation::Column::AccountId.eq(member.account_id))
        .filter(invitation::Column::InvitedBy.eq(format!("user {}", member.user_id)))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

fn item((member, user): Row) -> UserItem {
    let (email, name, second_factor) = user.map_or_else(Default::default, |user| {
        (user.email, user.name, user.totp_confirmed_at.is_some())
    });
    UserItem {
        id: member.user_id,
        email,
        name,
        role: text(&member.role),
        second_factor,
        created_at: member.created_at,
        links: UserLinks {
            own: format!("/v1/users/{}", member.user_id),
        },
    }
}
