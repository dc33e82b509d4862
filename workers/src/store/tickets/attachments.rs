//! Files of what is said in tickets.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{attachment, ticket_attachment};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait,
};
use uuid::Uuid;

/// How long a file is kept that nobody has named in a ticket.
const UNUSED: TimeDelta = TimeDelta::days(1);

/// One of these files that an account has not uploaded, if there is one.
pub(crate) async fn missing(
    db: &impl ConnectionTrait,
    account_id: Uuid,
    ids: &[Uuid],
) -> Result<Option<Uuid>, DbErr> {
    let there: Vec<Uuid> = attachment::Entity::find()
        .filter(attachment::Column::Id.is_in(ids.iter().copied()))
        .filter(attachment::Column::AccountId.eq(account_id))
        .select_only()
        .column(attachment::Column::Id)
        .into_tuple()
        .all(db)
        .await?;
    Ok(ids.iter().copied().find(|id| !there.contains(id)))
}

/// Says that files belong to a message.
pub(super) async fn attach(
    db: &impl ConnectionTrait,
    message_id: Uuid,
    ids: &[Uuid],
) -> Result<(), DbErr> {
    for (position, id) in (0..).zip(ids) {
        let row = ticket_attachment::Model {
            message_id,
            attachment_id: *id,
            position,
        };
        ticket_attachment::Entity::insert(ticket_attachment::ActiveModel::from(row).reset_all())
            .exec_without_returning(db)
            .await?;
    }
    Ok(())
}

/// What is known of the files of a message, in their order.
///
/// # Errors
/// When the database cannot be reached.
pub async fn of_message(
    db: &impl ConnectionTrait,
    message_id: Uuid,
) -> Result<Vec<attachment::Head>, DbErr> {
    let links = ticket_attachment::Entity::find()
        .filter(ticket_attachment::Column::MessageId.eq(message_id))
        .order_by_asc(ticket_attachment::Column::Position)
        .all(db)
        .await?;
    let ids: Vec<_> = links.iter().map(|link| link.attachment_id).collect();
    let mut heads = attachment::Entity::find()
        .filter(attachment::Column::Id.is_in(ids.iter().copied()))
        .into_partial_model::<attachment::Head>()
        .all(db)
        .await?;
    heads.sort_by_key(|head| ids.iter().position(|id| *id == head.id));
    Ok(heads)
}

/// Deletes files that nobody has named in a ticket in time. Returns how many.
pub(crate) async fn sweep(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let used = ticket_attachment::Entity::find()
        .select_only()
        .column(ticket_attachment::Column::AttachmentId)
        .into_query();
    let swept = attachment::Entity::delete_many()
        .filter(attachment::Column::UploadedAt.lt(now - UNUSED))
        .filter(attachment::Column::Id.not_in_subquery(used))
        .exec(db)
        .await?;
    Ok(swept.rows_affected)
}

/// A file with its bytes.
///
/// # Errors
/// When the database cannot be reached.
pub async fn find(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<attachment::Model>, DbErr> {
    attachment::Entity::find_by_id(id).one(db).await
}
