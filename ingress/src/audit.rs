//! The audit trail: who changed what with which credential, what it was before and after.

use chrono::Utc;
use entity::audit_entry;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, Set};
use serde_json::Value;
use uuid::Uuid;

use crate::credentials::Caller;

/// A change, to be written in the transaction that makes it.
pub(crate) struct Change<'a> {
    pub(crate) caller: &'a Caller,
    /// `api_key.create`.
    pub(crate) action: &'static str,
    /// The id of what is changed.
    pub(crate) subject: String,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

impl Change<'_> {
    /// Writes the entry.
    pub(crate) async fn write(self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let text = |value: Option<Value>| value.map(|value| value.to_string());
        let entry = audit_entry::ActiveModel {
            id: Set(Uuid::now_v7()),
            at: Set(Utc::now()),
            actor: Set(self.caller.actor()),
            action: Set(self.action.to_owned()),
            subject: Set(self.subject),
            account_id: Set(Some(self.caller.account_id)),
            credential: Set(Some(self.caller.actor())),
            before: Set(text(self.before)),
            after: Set(text(self.after)),
            message_id: Set(None),
            note: Set(None),
            trace_id: Set(broker::current_trace_id()),
        };
        audit_entry::Entity::insert(entry)
            .exec_without_returning(db)
            .await?;
        Ok(())
    }
}
