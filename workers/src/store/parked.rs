//! Parked messages, and what operators decide about them.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Context;
use broker::{Parked, Replay};
use chrono::{DateTime, SubsecRound, Utc};
use entity::order::OrderState;
use entity::parked_message::{self, ParkedState};
use entity::{audit_entry, order};
use schemas::document::DocumentRender;
use schemas::email::EmailSend;
use schemas::invoice::invoice_id;
use schemas::problem::{self, Problem};
use schemas::provision::{ResourceDeprovision, ResourceProvision, UsageRead};
use schemas::{Message, topology};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Set,
};
use uuid::Uuid;

use super::{mails, orders, requests, stages, tickets};

/// Takes a parked message over and shows on its order or invoice that it waits for a person. Taking
/// it over again changes nothing. Returns the order if it failed with this.
pub(crate) async fn take_over(
    db: &DatabaseConnection,
    parked: Parked,
) -> anyhow::Result<Option<(order::Model, Problem)>> {
    let transaction = super::begin(db).await?;
    let subject = parked.correlation_id;
    let order = orders::lock(&transaction, subject).await?;
    let account_id = match &order {
        Some(order) => Some(order.account_id),
        None => {
            let ticket = tickets::find(&transaction, subject).await?;
            let request = requests::find(&transaction, subject).await?;
            let of_request = request.map(|request| request.account_id);
            ticket.map(|ticket| ticket.account_id).or(of_request)
        }
    };
    let deprovision: Option<ResourceDeprovision> = serde_json::from_slice(&parked.body).ok();
    let render: Option<DocumentRender> = serde_json::from_slice(&parked.body).ok();
    let mail: Option<EmailSend> = serde_json::from_slice(&parked.body).ok();
    let mail = mail.map(|mail| mail.delivery_id);
    let parked_at = parked.parked_at.trunc_subsecs(3);
    let key = format!(
        "{}/{}/{}",
        parked.queue,
        parked.message_id,
        parked_at.timestamp_millis()
    );
    let row = parked_message::Model {
        id: Uuid::new_v5(&parked.message_id, key.as_bytes()),
        queue: parked.queue.clone(),
        message_id: parked.message_id,
        correlation_id: subject,
        account_id,
        kind: without_nul(parked.kind),
        reason: without_nul(parked.reason.clone()),
        error: without_nul(parked.error.clone()),
        attempts: i32::try_from(parked.attempts).unwrap_or(i32::MAX),
        publisher: parked.publisher.map(without_nul),
        origin_exchange: without_nul(parked.origin_exchange),
        origin_routing_key: without_nul(parked.origin_routing_key),
        version: without_nul(parked.version),
        headers: parked.headers.to_string(),
        body: parked.body,
        trace_id: parked.trace_id.map(without_nul),
        state: ParkedState::Parked,
        decided_by: None,
        note: None,
        decided_at: None,
        replay_at: None,
        parked_at,
    };
    let inserted = super::insert_once(
        &transaction,
        parked_message::ActiveModel::from(row).reset_all(),
    )
    .await?;
    let mut failed = None;
    if inserted {
        let error = if parked.error.is_empty() {
            &parked.reason
        } else {
            &parked.error
        };
        match stage_of(&parked.queue) {
            Some(stages::DELIVER) => {
                // A mail tells of an invoice or of a ticket.
                let mail = match mail {
                    Some(id) => mails::find(&transaction, id).await?,
                    None => None,
                };
                let subject = mail.map_or(invoice_id(subject), |mail| mail.subject_id);
                stages::failed(&transaction, subject, stages::DELIVER, error).await?;
            }
            Some(stages::TERMINATE) => {
                let subject = deprovision.map_or(subject, |body| body.resource_id);
                stages::failed(&transaction, subject, stages::TERMINATE, error).await?;
            }
            Some(stages::RENDER) => {
                let subject = render.map_or(invoice_id(subject), |body| body.invoice_id);
                stages::failed(&transaction, subject, stages::RENDER, error).await?;
            }
            Some(stage) => stages::failed(&transaction, subject, stage, error).await?,
            None => {}
        }
        if let Some(order) = order.filter(|_| stage_of(&parked.queue) == Some(stages::PROVISION)) {
            let problem = Problem::new(problem::ORDER_FAILED, error);
            let note = Some(problem.detail.as_str());
            if orders::advance(
                &transaction,
                &order,
                OrderState::Failed,
                note,
                Some(&problem),
            )
            .await?
            {
                failed = Some((order, problem));
            }
        }
    }
    transaction.commit().await?;
    Ok(failed)
}

/// PostgreSQL has no NUL in texts; an outsider's message may have.
fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}")
    } else {
        text
    }
}

/// Queues of requests that are no step of anything.
const NO_STAGE: [topology::WorkQueue; 4] = [
    topology::INVOICE_REQUEST,
    topology::ORDER_CANCEL,
    topology::RESOURCE_TERMINATE,
    topology::INVOICE_HANDLE,
];

/// The stage that a work queue does.
fn stage_of(queue: &str) -> Option<&'static str> {
    let queue = topology::WORK_QUEUES
        .iter()
        .find(|known| known.name == queue)?;
    Some(match queue.pool {
        _ if NO_STAGE.contains(queue) => return None,
        topology::Pool::Order => stages::PLACE,
        topology::Pool::Provider if queue.key.starts_with(ResourceDeprovision::KIND) => {
            stages::TERMINATE
        }
        topology::Pool::Provider if queue.key.starts_with(UsageRead::KIND) => stages::SETTLE,
        topology::Pool::Provider => stages::PROVISION,
        topology::Pool::Invoice if *queue == topology::INVOICE_SETTLE => stages::SETTLE,
        topology::Pool::Invoice => stages::ISSUE,
        topology::Pool::Document => stages::RENDER,
        topology::Pool::Email => stages::DELIVER,
        topology::Pool::Ticket | topology::Pool::Parker | topology::Pool::Reconciler => {
            return None;
        }
    })
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only messages of this queue.
    pub queue: Option<String>,
    /// Only messages parked for this reason.
    pub reason: Option<String>,
    /// Only messages that belong to this account.
    pub account_id: Option<Uuid>,
    /// Only messages that were parked before.
    pub before: Option<DateTime<Utc>>,
    /// Only messages that were parked since.
    pub since: Option<DateTime<Utc>>,
    /// Only messages in this state; without one, those that wait for a decision.
    pub state: Option<ParkedState>,
}

/// Parked messages, oldest first.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list(
    db: &impl ConnectionTrait,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<parked_message::Model>, DbErr> {
    use parked_message::Column;
    let mut query = parked_message::Entity::find()
        .filter(Column::State.eq(filter.state.unwrap_or(ParkedState::Parked)));
    if let Some(queue) = &filter.queue {
        query = query.filter(Column::Queue.eq(queue));
    }
    if let Some(reason) = &filter.reason {
        query = query.filter(Column::Reason.eq(reason));
    }
    if let Some(account_id) = filter.account_id {
        query = query.filter(Column::AccountId.eq(account_id));
    }
    if let Some(before) = filter.before {
        query = query.filter(Column::ParkedAt.lt(before));
    }
    if let Some(since) = filter.since {
        query = query.filter(Column::ParkedAt.gte(since));
    }
    query
        .order_by_asc(Column::ParkedAt)
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db)
        .await
}

/// One parked message.
///
/// # Errors
/// When the database cannot be reached.
pub async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<parked_message::Model>, DbErr> {
    parked_message::Entity::find_by_id(id).one(db).await
}

/// Whether a message about creating the resources of an order waits for a decision.
pub(crate) async fn stops(db: &impl ConnectionTrait, order_id: Uuid) -> Result<bool, DbErr> {
    use parked_message::Column;
    let queues = topology::WORK_QUEUES.iter();
    let queues = queues.filter(|queue| queue.key.starts_with(ResourceProvision::KIND));
    let waiting = parked_message::Entity::find()
        .filter(Column::CorrelationId.eq(order_id))
        .filter(Column::Queue.is_in(queues.map(|queue| queue.name)))
        .filter(Column::State.eq(ParkedState::Parked))
        .count(db)
        .await?;
    Ok(waiting > 0)
}

/// What an operator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Back to its queue. The parker does it, at its pace.
    Replay,
    /// Nothing more is done; the message stays in the table.
    Discard,
}

/// Who decides, why, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Decider<'a> {
    /// The operator, for the audit trail.
    pub operator: &'a str,
    /// The reason in their words, for the audit trail.
    pub note: Option<&'a str>,
    /// How many messages go back to their queues in a second.
    pub rate: NonZeroU32,
}

/// Writes a decision about messages down, with who and why. Returns the ids of those that wait for
/// no decision.
///
/// # Errors
/// When the database cannot be reached; then nothing is decided.
pub async fn decide(
    db: &DatabaseConnection,
    ids: &[Uuid],
    decision: Decision,
    decider: Decider<'_>,
) -> Result<Vec<Uuid>, DbErr> {
    use parked_message::Column;
    let (state, action) = match decision {
        Decision::Replay => (ParkedState::Replaying, "parked_message.replay"),
        Decision::Discard => (ParkedState::Discarded, "parked_message.discard"),
    };
    let Decider {
        operator,
        note,
        rate,
    } = decider;
    let transaction = super::begin(db).await?;
    let now = super::now(&transaction).await?;
    let mut replay_at = now;
    let mut not_waiting = Vec::new();
    for id in ids {
        let decided = parked_message::Entity::update_many()
            .col_expr(Column::State, Expr::value(state))
            .col_expr(Column::DecidedBy, Expr::value(operator))
            .col_expr(Column::Note, Expr::value(note))
            .col_expr(Column::DecidedAt, Expr::value(now))
            .col_expr(Column::ReplayAt, Expr::value(replay_at))
            .filter(Column::Id.eq(*id))
            .filter(Column::State.eq(ParkedState::Parked))
            .exec(&transaction)
            .await?;
        if decided.rows_affected == 0 {
            not_waiting.push(*id);
            continue;
        }
        replay_at += Duration::from_secs(1) / rate.get();
        audit(&transaction, operator, action, &id.to_string(), note).await?;
    }
    transaction.commit().await?;
    Ok(not_waiting)
}

/// Writes an entry of the audit trail.
///
/// # Errors
/// When the database cannot be reached.
pub async fn audit(
    db: &impl ConnectionTrait,
    actor: &str,
    action: &str,
    subject: &str,
    note: Option<&str>,
) -> Result<(), DbErr> {
    let entry = audit_entry::ActiveModel {
        id: Set(Uuid::now_v7()),
        at: Set(Utc::now()),
        actor: Set(actor.to_owned()),
        action: Set(action.to_owned()),
        subject: Set(subject.to_owned()),
        note: Set(note.map(str::to_owned)),
        trace_id: Set(broker::current_trace_id()),
        ..Default::default()
    };
    audit_entry::Entity::insert(entry)
        .exec_without_returning(db)
        .await
        .map(|_| ())
}

/// Messages that shall go back to their queues.
pub(crate) async fn to_replay(
    db: &impl ConnectionTrait,
    limit: u64,
) -> anyhow::Result<Vec<(Uuid, Replay)>> {
    let now = super::now(db).await?;
    let rows = parked_message::Entity::find()
        .filter(parked_message::Column::State.eq(ParkedState::Replaying))
        .filter(parked_message::Column::ReplayAt.lte(now))
        .order_by_asc(parked_message::Column::ReplayAt)
        .limit(limit)
        .all(db)
        .await?;
    rows.into_iter()
        .map(|row| {
            let replay = Replay {
                queue: row.queue,
                message_id: row.message_id,
                correlation_id: row.correlation_id,
                kind: row.kind,
                publisher: row.publisher,
                origin_exchange: row.origin_exchange,
                origin_routing_key: row.origin_routing_key,
                operator: row.decided_by.unwrap_or_default(),
                headers: serde_json::from_str(&row.headers).context("read the headers")?,
                body: row.body,
            };
            Ok((row.id, replay))
        })
        .collect()
}

/// Notes that a message went back to its queue.
pub(crate) async fn replayed(db: &impl ConnectionTrait, id: Uuid) -> Result<(), DbErr> {
    parked_message::Entity::update_many()
        .col_expr(
            parked_message::Column::State,
            Expr::value(ParkedState::Replayed),
        )
        .filter(parked_message::Column::Id.eq(id))
        .filter(parked_message::Column::State.eq(ParkedState::Replaying))
        .exec(db)
        .await
        .map(|_| ())
}
