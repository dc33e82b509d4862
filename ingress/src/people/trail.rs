//! The audit trail of what people do about themselves: an entry for each account that they act for,
//! so that its owners see it.

use sea_orm::{ConnectionTrait, DbErr};
use serde_json::Value;
use uuid::Uuid;

use crate::audit::Entry;
use crate::credentials::{Acting, Person};

/// Something that a person did about themselves. Never with a secret in it.
pub(super) struct Deed {
    pub(super) user_id: Uuid,
    /// The session; nothing for who is not logged in.
    pub(super) credential: Option<String>,
    pub(super) action: &'static str,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

impl Deed {
    /// By somebody who is logged in.
    pub(super) fn of(person: &Person, action: &'static str) -> Self {
        Self {
            user_id: person.user.id,
            credential: Some(person.credential()),
            action,
            before: None,
            after: None,
        }
    }

    /// By somebody who has proved who they are otherwise.
    pub(super) fn by(user_id: Uuid, action: &'static str) -> Self {
        Self {
            user_id,
            credential: None,
            action,
            before: None,
            after: None,
        }
    }

    /// What it was before and is afterwards.
    pub(super) fn changed(mut self, before: Option<Value>, after: Option<Value>) -> Self {
        (self.before, self.after) = (before, after);
        self
    }

    /// Writes an entry for each of these accounts; one for none if there are none.
    pub(super) async fn write(
        self,
        db: &impl ConnectionTrait,
        accounts: &[Acting],
    ) -> Result<(), DbErr> {
        let entry = Entry {
            actor: format!("user {}", self.user_id),
            credential: self.credential,
            account_id: None,
            action: self.action,
            subject: self.user_id.to_string(),
            before: self.before,
            after: self.after,
        };
        if accounts.is_empty() {
            return entry.write(db).await;
        }
        for acting in accounts {
            let mut entry = entry.clone();
            entry.account_id = Some(acting.account_id);
            entry.write(db).await?;
        }
        Ok(())
    }
}
