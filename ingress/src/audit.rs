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
        let entry = Entry {
            actor: self.caller.actor(),
            credential: Some(self.caller.credential()),
            account_id: Some(self.caller.account_id),
            action: self.action,
            subject: self.subject,
            before: self.before,
            after: self.after,
        };
        entry.write(db).await
    }
}

/// Something that happened, to be written in the transaction in which it does. Never with a secret in
/// it.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Who: `user`, `api_key` or `nobody`, and the id.
    pub(crate) actor: String,
    /// With what: `session` or `api_key` and the id.
    pub(crate) credential: Option<String>,
    /// The account it concerns, if it is one.
    pub(crate) account_id: Option<Uuid>,
    pub(crate) action: &'static str,
    pub(crate) subject: String,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

impl Entry {
    /// Writes the entry.
    pub(crate) async fn write(self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let text = |value: Option<Value>| value.map(|value| value.to_string());
        let entry = audit_entry::ActiveModel {
            id: Set(Uuid::now_v7()),
            at: Set(Utc::now()),
            actor: Set(self.actor),
            action: Set(self.action.to_owned()),
            subject: Set(self.subject),
            account_id: Set(self.account_id),
            credential: Set(self.credential),
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
