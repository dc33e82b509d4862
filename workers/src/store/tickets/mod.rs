//! Tickets, what is said in them, and their history.

pub mod attachments;
pub(crate) mod automatic;
pub(crate) mod deadlines;
pub(crate) mod mailing;
pub(crate) mod moves;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use entity::ticket_message::Author;
use entity::{ticket, ticket_event, ticket_message};
use schemas::ticket::{HandlingRequest, TicketStatus, sha256_of};
use schemas::{Problem, problem};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::stages;
use mailing::Mailing;
use moves::Move;

/// How long after it was closed a ticket can be opened again.
pub(crate) const REOPENABLE: TimeDelta = TimeDelta::days(14);

/// Something that is done to a ticket, once.
pub(crate) struct Action<'a> {
    /// What identifies it.
    pub(crate) cause: Uuid,
    pub(crate) at: DateTime<Utc>,
    pub(crate) author: Author,
    pub(crate) name: &'a str,
    /// How it moves the ticket, one after the other.
    pub(crate) moves: Vec<Move>,
    /// What everybody may read.
    pub(crate) said: Option<&'a str>,
    /// What only the support reads.
    pub(crate) noted: Option<&'a str>,
    /// Files that belong to what everybody may read; to the note, if there is only that.
    pub(crate) attached: &'a [Uuid],
    pub(crate) priority: Option<&'a str>,
    pub(crate) assignee: Option<&'a str>,
    /// What was done, in words.
    pub(crate) note: Option<String>,
    /// Hash of what was asked for.
    pub(crate) sha256: String,
}

impl<'a> Action<'a> {
    /// An action that does nothing yet.
    pub(crate) fn new(cause: Uuid, at: DateTime<Utc>, author: Author, name: &'a str) -> Self {
        Self {
            cause,
            at,
            author,
            name,
            moves: Vec::new(),
            said: None,
            noted: None,
            attached: &[],
            priority: None,
            assignee: None,
            note: None,
            sha256: String::new(),
        }
    }
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<ticket::Model>, DbErr> {
    ticket::Entity::find_by_id(id).one(db).await
}

/// The ticket, locked until the transaction ends.
pub(crate) async fn lock(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<ticket::Model>, DbErr> {
    ticket::Entity::find_by_id(id)
        .lock_exclusive()
        .one(db)
        .await
}

/// What was done under this id.
pub(crate) async fn event(
    db: &impl ConnectionTrait,
    cause: Uuid,
) -> Result<Option<ticket_event::Model>, DbErr> {
    ticket_event::Entity::find_by_id(cause).one(db).await
}

/// What was said with one change of a ticket.
pub(crate) async fn said(
    db: &impl ConnectionTrait,
    ticket_id: Uuid,
    version: i32,
) -> Result<Vec<ticket_message::Model>, DbErr> {
    ticket_message::Entity::find()
        .filter(ticket_message::Column::TicketId.eq(ticket_id))
        .filter(ticket_message::Column::Version.eq(version))
        .order_by_asc(ticket_message::Column::Id)
        .all(db)
        .await
}

/// Where a ticket stands.
///
/// # Errors
/// When the row says something that is no state.
pub(crate) fn status(ticket: &ticket::Model) -> anyhow::Result<TicketStatus> {
    ticket
        .status
        .parse()
        .context("read the state of the ticket")
}

/// Opens a ticket, with what is said first. False if it is there already.
pub(crate) async fn open(
    db: &impl ConnectionTrait,
    ticket: ticket::Model,
    action: Action<'_>,
    mailing: &Mailing<'_>,
) -> Result<bool, DbErr> {
    let row = ticket::ActiveModel::from(ticket.clone());
    if !super::insert_once(db, row.reset_all()).await? {
        return Ok(false);
    }
    write(db, &ticket, &action, None, mailing).await?;
    Ok(true)
}

/// Does something to a locked ticket, once. What is not possible is written down as refused.
///
/// # Errors
/// When a row cannot be read, or the database cannot be reached.
pub(crate) async fn apply(
    db: &impl ConnectionTrait,
    ticket: ticket::Model,
    action: Action<'_>,
    mailing: &Mailing<'_>,
) -> anyhow::Result<()> {
    if event(db, action.cause).await?.is_some() {
        return Ok(());
    }
    let from = status(&ticket)?;
    let moved = action.moves.iter().try_fold(from, |at, done| match done {
        Move::CustomerReopens if ticket.closed_at.is_some_and(|closed| closed + REOPENABLE < action.at) => {
            Err("It was closed more than 14 days ago. Raise another ticket, or reply: then one is opened that continues it.")
        }
        _ => moves::next(at, *done),
    });
    let mut changed = ticket::Model {
        version: ticket.version + 1,
        updated_at: action.at,
        ..ticket
    };
    let to = match moved {
        Ok(to) => to,
        Err(reason) => {
            let problem = Problem::new(problem::CONFLICT, reason);
            let refused = Action {
                said: None,
                noted: None,
                note: Some(reason.to_owned()),
                ..action
            };
            update(db, &changed).await?;
            write(db, &changed, &refused, Some(&problem), mailing).await?;
            return Ok(());
        }
    };
    changed.status = to.to_string();
    if let Some(priority) = action.priority {
        changed.priority = priority.to_owned();
    }
    if let Some(assignee) = action.assignee {
        changed.assignee = Some(assignee.to_owned());
    }
    if action.author == Author::Support && action.said.is_some() {
        changed.answered_at = changed.answered_at.or(Some(action.at));
    }
    let over = matches!(to, TicketStatus::Resolved | TicketStatus::Closed);
    changed.resolved_at = over.then(|| changed.resolved_at.unwrap_or(action.at));
    let closed = to == TicketStatus::Closed;
    changed.closed_at = closed.then(|| changed.closed_at.unwrap_or(action.at));
    update(db, &changed).await?;
    write(db, &changed, &action, None, mailing).await?;
    Ok(())
}

/// Writes what may change of a ticket that is locked.
async fn update(db: &impl ConnectionTrait, to: &ticket::Model) -> Result<(), DbErr> {
    use ticket::Column;
    let updated = ticket::Entity::update_many()
        .col_expr(Column::Status, Expr::value(to.status.clone()))
        .col_expr(Column::Priority, Expr::value(to.priority.clone()))
        .col_expr(Column::Assignee, Expr::value(to.assignee.clone()))
        .col_expr(Column::AnsweredAt, Expr::value(to.answered_at))
        .col_expr(Column::ResolvedAt, Expr::value(to.resolved_at))
        .col_expr(Column::ClosedAt, Expr::value(to.closed_at))
        .col_expr(Column::StageAttempts, Expr::value(to.stage_attempts))
        .col_expr(Column::Version, Expr::value(to.version))
        .col_expr(Column::UpdatedAt, Expr::value(to.updated_at))
        .filter(Column::Id.eq(to.id))
        .filter(Column::Version.eq(to.version - 1))
        .exec(db)
        .await?;
    match updated.rows_affected {
        0 => Err(DbErr::RecordNotUpdated),
        _ => Ok(()),
    }
}

/// Writes the history of an action, what was said with it, and the mails that tell of it.
async fn write(
    db: &impl ConnectionTrait,
    ticket: &ticket::Model,
    action: &Action<'_>,
    problem: Option<&Problem>,
    mailing: &Mailing<'_>,
) -> Result<(), DbErr> {
    let event = ticket_event::Model {
        cause: action.cause,
        ticket_id: ticket.id,
        version: ticket.version,
        status: ticket.status.clone(),
        author: action.author,
        author_name: action.name.to_owned(),
        note: action.note.clone(),
        problem: problem.and_then(|problem| serde_json::to_string(problem).ok()),
        request_sha256: action.sha256.clone(),
        at: action.at,
    };
    ticket_event::Entity::insert(ticket_event::ActiveModel::from(event).reset_all())
        .exec_without_returning(db)
        .await?;
    let message = |id, internal, body: &str| ticket_message::Model {
        id,
        ticket_id: ticket.id,
        version: ticket.version,
        author: action.author,
        author_name: action.name.to_owned(),
        internal,
        body: body.to_owned(),
        created_at: action.at,
    };
    let said = action.said.map(|body| message(action.cause, false, body));
    let noted = action.noted.map(|body| {
        let id = Uuid::new_v5(&action.cause, b"note");
        message(id, true, body)
    });
    let mut attached = action.attached;
    for message in said.into_iter().chain(noted) {
        let row = ticket_message::ActiveModel::from(message.clone());
        ticket_message::Entity::insert(row.reset_all())
            .exec_without_returning(db)
            .await?;
        attachments::attach(db, message.id, std::mem::take(&mut attached)).await?;
        mailing.plan(db, ticket, &message).await?;
    }
    Ok(())
}

/// What the support asks for, as an action.
pub(crate) fn handling<'a>(
    cause: Uuid,
    at: DateTime<Utc>,
    by: &'a str,
    request: &'a HandlingRequest,
) -> Action<'a> {
    let mut action = Action::new(cause, at, Author::Support, by);
    action.said = request.answer.as_ref().map(|text| text.as_str());
    action.noted = request.note.as_ref().map(|text| text.as_str());
    action.attached = request.attachments.ids();
    action.priority = request.priority.map(|priority| priority.as_str());
    action.assignee = request.assignee.as_ref().map(|name| name.as_str());
    action.sha256 = sha256_of(request);
    let moves = [
        action.assignee.map(|_| Move::SupportTakes),
        action.said.map(|_| Move::SupportAnswers),
        request.status.map(Move::SupportSets),
    ];
    action.moves = moves.into_iter().flatten().collect();
    if action.moves == [Move::SupportAnswers, Move::SupportSets(TicketStatus::Open)] {
        // An answer with which a closed ticket is opened again.
        action.moves.reverse();
    }
    let done = [
        request.priority.map(|to| format!("priority {to}")),
        request
            .assignee
            .as_ref()
            .map(|to| format!("assigned to {to}")),
    ];
    let done: Vec<_> = done.into_iter().flatten().collect();
    action.note = (!done.is_empty()).then(|| done.join(", "));
    action
}

/// Does what the support asks for, from the command line. What follows is published by the
/// reconciler. Returns where the ticket stands then.
///
/// # Errors
/// When there is no such ticket, it cannot be done, or the database cannot be reached.
pub async fn handle(
    db: &DatabaseConnection,
    ticket_id: Uuid,
    by: &str,
    request: &HandlingRequest,
    support: Option<&str>,
) -> anyhow::Result<TicketStatus> {
    let transaction = super::begin(db).await?;
    let Some(ticket) = lock(&transaction, ticket_id).await? else {
        bail!("there is no ticket {ticket_id}");
    };
    let cause = Uuid::now_v7();
    let mailing = Mailing::of(&transaction, ticket.account_id, support).await?;
    apply(
        &transaction,
        ticket,
        handling(cause, Utc::now(), by, request),
        &mailing,
    )
    .await?;
    let event = event(&transaction, cause).await?;
    let event = event.context("the action that was just stored is gone")?;
    if event.problem.is_some() {
        bail!("{}", event.note.unwrap_or_default());
    }
    stages::to_be_sent_again(&transaction, cause, stages::ANNOUNCE).await?;
    transaction.commit().await?;
    event.status.parse().context("read the state of the ticket")
}

/// Tickets by their state, those that are due first first.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list(
    db: &impl ConnectionTrait,
    statuses: &[TicketStatus],
    limit: u64,
) -> Result<Vec<ticket::Model>, DbErr> {
    let statuses = statuses.iter().map(|status| status.as_str());
    ticket::Entity::find()
        .filter(ticket::Column::Status.is_in(statuses))
        .order_by_asc(ticket::Column::ResolutionDueAt)
        .order_by_asc(ticket::Column::Id)
        .limit(limit)
        .all(db)
        .await
}

/// A ticket with everything that was said in it, notes too, oldest first.
///
/// # Errors
/// When the database cannot be reached.
pub async fn show(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<(ticket::Model, Vec<ticket_message::Model>)>, DbErr> {
    let Some(ticket) = find(db, id).await? else {
        return Ok(None);
    };
    Ok(Some((ticket, talk(db, id).await?)))
}

/// Everything that was said in a ticket, oldest first.
pub(crate) async fn talk(
    db: &impl ConnectionTrait,
    ticket_id: Uuid,
) -> Result<Vec<ticket_message::Model>, DbErr> {
    ticket_message::Entity::find()
        .filter(ticket_message::Column::TicketId.eq(ticket_id))
        .order_by_asc(ticket_message::Column::Version)
        .order_by_asc(ticket_message::Column::Id)
        .all(db)
        .await
}
