//! The mails to people. They are planned in the transaction that gives the reason, and sent by the
//! workers like all others: a mail that is planned is sent once, and what its link proves is in no
//! message and no table.

use std::sync::Arc;

use broker::Outgoing;
use chrono::Utc;
use entity::email_delivery::{self, DeliveryState};
use entity::stage::{self, StageState};
use entity::{invitation, issuer, one_time_token};
use schemas::email::EmailSend;
use sea_orm::{ActiveEnum, ConnectionTrait, DbErr, EntityTrait, Set};
use tracing::Instrument;
use uuid::Uuid;

use crate::State;

/// The stage that shows how far a mail is, as the workers call it.
const DELIVER: &str = "deliver";

/// A mail that is planned.
pub(super) struct Planned {
    delivery_id: Uuid,
    subject_id: Uuid,
}

/// Plans the mail with the link of a token, or about what it stands for.
pub(super) async fn of_token(
    db: &impl ConnectionTrait,
    token: &one_time_token::Model,
) -> Result<Planned, DbErr> {
    let mail = Mail {
        subject_id: token.id,
        account_id: Uuid::nil(),
        template: "person",
        purpose: token.purpose.to_value(),
        recipient: &token.email,
    };
    mail.plan(db).await
}

/// Plans the mail with an invitation.
pub(super) async fn of_invitation(
    db: &impl ConnectionTrait,
    invitation: &invitation::Model,
) -> Result<Planned, DbErr> {
    let mail = Mail {
        subject_id: invitation.id,
        account_id: invitation.account_id,
        template: "invitation",
        purpose: "invite".to_owned(),
        recipient: &invitation.email,
    };
    mail.plan(db).await
}

struct Mail<'a> {
    subject_id: Uuid,
    account_id: Uuid,
    template: &'static str,
    purpose: String,
    recipient: &'a str,
}

impl Mail<'_> {
    async fn plan(self, db: &impl ConnectionTrait) -> Result<Planned, DbErr> {
        let issuer = issuer::Entity::find().one(db).await?;
        let domain = issuer.and_then(|issuer| {
            let (_, domain) = issuer.email.rsplit_once('@')?;
            Some(domain.to_owned())
        });
        let domain = domain.unwrap_or_else(|| "customer-flow.invalid".to_owned());
        // One for each reason: what it tells of has an id of its own.
        let id = Uuid::new_v5(&self.subject_id, self.purpose.as_bytes());
        let now = Utc::now();
        let delivery = email_delivery::ActiveModel {
            id: Set(id),
            subject_id: Set(self.subject_id),
            story_id: Set(self.subject_id),
            document_id: Set(None),
            account_id: Set(self.account_id),
            template: Set(self.template.to_owned()),
            purpose: Set(self.purpose),
            recipient: Set(self.recipient.to_owned()),
            message_id: Set(format!("<{id}@{domain}>")),
            state: Set(DeliveryState::Queued),
            attempts: Set(0),
            fence: Set(0),
            lease_until_ms: Set(None),
            smtp_reply: Set(None),
            last_error: Set(None),
            sent_at: Set(None),
            created_at: Set(now),
            updated_at: Set(now),
        };
        let insert = email_delivery::Entity::insert(delivery);
        insert.exec_without_returning(db).await?;
        let stage = stage::ActiveModel {
            subject_id: Set(self.subject_id),
            name: Set(DELIVER.to_owned()),
            state: Set(StageState::Pending),
            attempts: Set(0),
            next_attempt_at: Set(None),
            last_error: Set(None),
            pause_ms: Set(0),
            check_at_ms: Set(None),
            checks: Set(0),
            updated_at: Set(now),
        };
        let insert = stage::Entity::insert(stage);
        insert.exec_without_returning(db).await?;
        Ok(Planned {
            delivery_id: id,
            subject_id: self.subject_id,
        })
    }
}

impl Planned {
    /// Has it sent, beside the request, once what gives the reason is committed. If the broker is away
    /// the reconciler sees to it.
    pub(super) fn send(self, state: &Arc<State>) {
        let state = state.clone();
        let delivery_id = self.delivery_id;
        let send = async move {
            let send = EmailSend { delivery_id };
            let send = Outgoing::once(delivery_id, self.subject_id, &send);
            if let Err(error) = state.publisher.publish(&send).await {
                tracing::warn!(mail.id = %delivery_id, "a mail is sent later: {error}");
            }
        };
        tokio::spawn(send.in_current_span());
    }
}
