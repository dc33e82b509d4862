//! Tickets by themselves: one is opened when a step of an order or invoice waits for a person, and
//! closed when the step is done. What was resolved and not objected to is closed after a while.
//!
//! All of it follows from what is stored, so that it may be looked for again and again.

use anyhow::Context;
use chrono::{TimeDelta, Utc};
use entity::ticket_message::Author;
use entity::{invoice, order, resource, ticket};
use schemas::ticket::{Category, Priority, TicketStatus};
use schemas::values::Locale;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, FromQueryResult,
    QueryFilter, QuerySelect, Statement,
};
use uuid::Uuid;

use crate::store::{self, catalog, stages};

use super::mailing::Mailing;
use super::moves::Move;
use super::{Action, deadlines};

/// How long a resolved ticket waits for an objection.
const OBJECTION: TimeDelta = TimeDelta::days(7);
/// How many tickets one look opens or closes of each kind.
const AT_ONCE: u64 = 100;
/// Who does it.
const NOBODY: &str = "Customer Flow";

/// A step that waits for a person and has no open ticket.
#[derive(Debug, FromQueryResult)]
struct Failed {
    subject_id: Uuid,
    name: String,
    attempts: i32,
    last_error: Option<String>,
}

/// What was done to which ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) ticket_id: Uuid,
    pub(crate) cause: Uuid,
}

/// What opens and closes tickets with.
pub(crate) struct Keeper<'a> {
    pub(crate) db: &'a DatabaseConnection,
    /// Where mails for the support go.
    pub(crate) support: Option<&'a str>,
}

/// Opens and closes what is due. Returns what was done, to be announced.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn look(keeper: &Keeper<'_>) -> anyhow::Result<Vec<Done>> {
    let db = keeper.db;
    let mut done = Vec::new();
    for failed in failed(db).await.context("look for failed steps")? {
        done.extend(keeper.open(&failed).await?);
    }
    for ticket in settled(db).await.context("look for settled tickets")? {
        let cause = Uuid::new_v5(&ticket.id, format!("end/{}", ticket.version).as_bytes());
        let note = match ticket.stage.is_some() {
            true => "What failed is done.",
            false => "Nobody has objected to the solution.",
        };
        done.extend(
            keeper
                .change(&ticket, cause, Move::EndsByItself, note)
                .await?,
        );
    }
    Ok(done)
}

async fn failed(db: &impl ConnectionTrait) -> Result<Vec<Failed>, DbErr> {
    let backend = db.get_database_backend();
    let of = |table: &str, column: &str| {
        format!(
            "SELECT s.subject_id, s.name, s.attempts, s.last_error FROM stage s
             JOIN \"{table}\" x ON x.id = s.subject_id
             LEFT JOIN ticket t ON t.{column} = s.subject_id AND t.stage = s.name
             WHERE s.state = 'failed'
               AND (t.id IS NULL OR (t.status = 'closed' AND t.stage_attempts < s.attempts))"
        )
    };
    let (orders, invoices) = (of("order", "order_id"), of("invoice", "invoice_id"));
    let resources = of("resource", "resource_id");
    let sql = format!("{orders} UNION ALL {resources} UNION ALL {invoices} LIMIT {AT_ONCE}");
    Failed::find_by_statement(Statement::from_string(backend, sql))
        .all(db)
        .await
}

/// Tickets whose step is done, and resolved ones that nobody objected to.
async fn settled(db: &impl ConnectionTrait) -> Result<Vec<ticket::Model>, DbErr> {
    let backend = db.get_database_backend();
    let sql = format!(
        "SELECT t.* FROM ticket t
         JOIN stage s ON s.subject_id = COALESCE(t.order_id, t.resource_id, t.invoice_id)
            AND s.name = t.stage
         WHERE t.stage IS NOT NULL AND t.status <> 'closed' AND s.state IN ('done', 'cancelled')
         LIMIT {AT_ONCE}"
    );
    let mut tickets = ticket::Entity::find()
        .from_raw_sql(Statement::from_string(backend, sql))
        .all(db)
        .await?;
    let resolved = ticket::Entity::find()
        .filter(ticket::Column::Status.eq(TicketStatus::Resolved.as_str()))
        .filter(ticket::Column::ResolvedAt.lt(Utc::now() - OBJECTION))
        .filter(ticket::Column::Stage.is_null())
        .limit(AT_ONCE);
    tickets.extend(resolved.all(db).await?);
    Ok(tickets)
}

impl Keeper<'_> {
    /// Opens the ticket of a failed step, or opens it again.
    async fn open(&self, failed: &Failed) -> anyhow::Result<Option<Done>> {
        let (db, support) = (self.db, self.support);
        let Failed {
            subject_id, name, ..
        } = failed;
        let id = Uuid::new_v5(subject_id, format!("ticket/{name}").as_bytes());
        if let Some(known) = super::find(db, id).await? {
            let cause = Uuid::new_v5(&id, format!("again/{}", failed.attempts).as_bytes());
            let known = ticket::Model {
                stage_attempts: failed.attempts,
                ..known
            };
            let note = failed.last_error.as_deref().unwrap_or("It failed again.");
            return self.change(&known, cause, Move::FailsAgain, note).await;
        }
        let order = order::Entity::find_by_id(*subject_id).one(db).await?;
        let invoice = invoice::Entity::find_by_id(*subject_id).one(db).await?;
        let resource = resource::Entity::find_by_id(*subject_id).one(db).await?;
        let nothing = None;
        let (account_id, what, trace_id, category) = match (&order, &resource, &invoice) {
            (Some(order), _, _) => (
                order.account_id,
                &order.name,
                &order.trace_id,
                Category::Technical,
            ),
            (None, Some(resource), _) => (
                resource.account_id,
                &resource.name,
                &nothing,
                Category::Technical,
            ),
            (None, None, Some(invoice)) => {
                let number = invoice
                    .number
                    .as_ref()
                    .context("the invoice has no number")?;
                (
                    invoice.account_id,
                    number,
                    &invoice.trace_id,
                    Category::Billing,
                )
            }
            (None, None, None) => return Ok(None),
        };
        let account = catalog::account(db, account_id).await?;
        let account = account.context("the account is gone")?;
        let locale = account.locale.parse().unwrap_or_default();
        let now = Utc::now();
        let priority = Priority::High;
        let mut ticket = ticket::Model {
            id,
            account_id,
            external_ref: None,
            subject: subject(locale, order.is_some(), what),
            category: category.to_string(),
            priority: priority.to_string(),
            status: TicketStatus::Open.to_string(),
            order_id: order.as_ref().map(|order| order.id),
            resource_id: resource.as_ref().map(|resource| resource.id),
            invoice_id: invoice.as_ref().map(|invoice| invoice.id),
            follows: None,
            stage: Some(name.clone()),
            stage_attempts: failed.attempts,
            assignee: None,
            answer_due_at: now,
            answered_at: None,
            resolution_due_at: now,
            resolved_at: None,
            closed_at: None,
            version: 1,
            trace_id: trace_id.clone(),
            created_at: now,
            updated_at: now,
        };
        let due = deadlines::of(db, &ticket, priority).await?;
        ticket.answer_due_at = now + due.answer;
        ticket.resolution_due_at = now + due.resolution;
        let error = failed.last_error.as_deref().unwrap_or_default();
        let trace = trace_id.as_deref().unwrap_or("-");
        let said = format!("{name}: {error}\n\ntrace: {trace}");
        let mut action = Action::new(id, now, Author::System, NOBODY);
        action.said = Some(&said);

        let transaction = store::begin(db).await?;
        let mailing = Mailing::of(&transaction, account_id, support).await?;
        if !super::open(&transaction, ticket, action, &mailing).await? {
            return Ok(None);
        }
        stages::pending(&transaction, id, stages::ANNOUNCE).await?;
        transaction.commit().await?;
        Ok(Some(Done {
            ticket_id: id,
            cause: id,
        }))
    }

    /// Does something to a ticket that is still as it was.
    async fn change(
        &self,
        ticket: &ticket::Model,
        cause: Uuid,
        done: Move,
        note: &str,
    ) -> anyhow::Result<Option<Done>> {
        let (db, support) = (self.db, self.support);
        let transaction = store::begin(db).await?;
        let current = super::lock(&transaction, ticket.id).await?;
        let Some(current) = current.filter(|current| current.version == ticket.version) else {
            return Ok(None);
        };
        let current = ticket::Model {
            stage_attempts: ticket.stage_attempts,
            ..current
        };
        let mailing = Mailing::of(&transaction, ticket.account_id, support).await?;
        let mut action = Action::new(cause, Utc::now(), Author::System, NOBODY);
        action.moves.push(done);
        action.said = Some(note);
        super::apply(&transaction, current, action, &mailing).await?;
        stages::pending(&transaction, cause, stages::ANNOUNCE).await?;
        transaction.commit().await?;
        Ok(Some(Done {
            ticket_id: ticket.id,
            cause,
        }))
    }
}

fn subject(locale: Locale, order: bool, what: &str) -> String {
    match (locale, order) {
        (Locale::En, true) => format!("Order {what} is held up"),
        (Locale::En, false) => format!("Invoice {what} cannot be delivered"),
        (Locale::De, true) => format!("Die Bestellung {what} steht still"),
        (Locale::De, false) => format!("Die Rechnung {what} kann nicht zugestellt werden"),
        (Locale::Fr, true) => format!("La commande {what} est bloquée"),
        (Locale::Fr, false) => format!("La facture {what} ne peut pas être remise"),
    }
}
