//! What must be true when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use entity::email_delivery::{self, DeliveryState};
use entity::invoice::InvoiceState;
use entity::order::{self, OrderState};
use entity::resource::{self, ResourceState};
use entity::stage::{self, StageState};
use entity::{document, invoice, invoice_line, number_series, order_event, parked_message};
use schemas::email::EmailSend;
use schemas::order::OrderPlace;
use schemas::{Message, Outgoing, Problem};
use sea_orm::{DatabaseConnection, EntityTrait, QueryOrder};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::database::RECIPIENT;
use super::message::Stored;
use super::post::PostFault;
use super::world::World;
use crate::store::{invoices, orders};

/// Fails with a sentence unless the condition holds.
macro_rules! demand {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+));
        }
    };
}

/// Every invariant.
pub(super) async fn all(world: &World<'_>) -> Result<(), String> {
    let rows = Rows::read(&world.db).await;
    rows.every_order_ended(world)?;
    rows.every_resource_has_one_server(world)?;
    rows.every_completed_order_has_one_invoice(&world.db)
        .await?;
    rows.every_invoice_has_one_document()?;
    rows.every_delivery_is_one_mail(world)?;
    rows.every_stage_is_over()?;
    rows.count(world);
    nothing_changes_when_messages_repeat(world, &rows).await
}

#[derive(PartialEq, Eq)]
struct Rows {
    orders: Vec<order::Model>,
    events: Vec<order_event::Model>,
    resources: Vec<resource::Model>,
    invoices: Vec<invoice::Model>,
    lines: Vec<invoice_line::Model>,
    series: Vec<number_series::Model>,
    documents: Vec<document::Model>,
    deliveries: Vec<email_delivery::Model>,
    stages: Vec<stage::Model>,
    parked: Vec<parked_message::Model>,
}

impl Rows {
    async fn read(db: &DatabaseConnection) -> Self {
        let events = order_event::Entity::find()
            .order_by_asc(order_event::Column::OrderId)
            .order_by_asc(order_event::Column::Version);
        Self {
            orders: order::Entity::find().all(db).await.unwrap(),
            events: events.all(db).await.unwrap(),
            resources: resource::Entity::find().all(db).await.unwrap(),
            invoices: invoice::Entity::find().all(db).await.unwrap(),
            lines: invoice_line::Entity::find().all(db).await.unwrap(),
            series: number_series::Entity::find().all(db).await.unwrap(),
            documents: document::Entity::find().all(db).await.unwrap(),
            deliveries: email_delivery::Entity::find().all(db).await.unwrap(),
            stages: stage::Entity::find().all(db).await.unwrap(),
            parked: parked_message::Entity::find().all(db).await.unwrap(),
        }
    }

    fn every_order_ended(&self, world: &World<'_>) -> Result<(), String> {
        let known: BTreeSet<Uuid> = self.orders.iter().map(|order| order.id).collect();
        demand!(
            known == world.placed,
            "placed {:?}, stored {known:?}",
            world.placed
        );
        for order in &self.orders {
            let id = order.id;
            match order.state {
                OrderState::Completed => {
                    let of_order = self.resources.iter().filter(|r| r.order_id == id);
                    let count = of_order.clone().count();
                    demand!(
                        usize::try_from(order.quantity) == Ok(count),
                        "order {id} has {count} resources"
                    );
                    demand!(
                        order.completed_at.is_some(),
                        "order {id} was never completed"
                    );
                }
                OrderState::Rejected => {
                    let problem = order.problem.as_deref().unwrap_or_default();
                    let reason = serde_json::from_str::<Problem>(problem);
                    let given = reason.is_ok_and(|problem| !problem.detail.is_empty());
                    demand!(given, "order {id} is rejected without a reason");
                }
                state => return Err(format!("order {id} is {state:?}")),
            }
            let history: Vec<_> = self
                .events
                .iter()
                .filter(|event| event.order_id == id)
                .collect();
            let states: Vec<_> = history.iter().map(|event| event.state).collect();
            let versions: Vec<_> = history.iter().map(|event| event.version).collect();
            demand!(
                versions == (1..=order.version).collect::<Vec<_>>(),
                "order {id} has the versions {versions:?}"
            );
            demand!(
                states.first() == Some(&OrderState::Accepted)
                    && states.last() == Some(&order.state)
                    && states
                        .windows(2)
                        .all(|pair| orders::allowed(pair[0], pair[1])),
                "order {id} went {states:?}"
            );
        }
        Ok(())
    }

    fn every_resource_has_one_server(&self, world: &World<'_>) -> Result<(), String> {
        let servers = world.cloud.ledger();
        for resource in &self.resources {
            let id = resource.id;
            let made: Vec<_> = servers
                .iter()
                .filter(|server| server.client_token == resource.client_token)
                .collect();
            demand!(made.len() == 1, "resource {id} has the servers {made:?}");
            demand!(
                resource.state == ResourceState::Active,
                "resource {id} is {:?}",
                resource.state
            );
            demand!(
                resource.external_id.as_ref() == Some(&made[0].id),
                "resource {id} is {:?}, made was {made:?}",
                resource.external_id
            );
        }
        demand!(
            servers.len() == self.resources.len(),
            "{} servers for {} resources",
            servers.len(),
            self.resources.len()
        );
        Ok(())
    }

    async fn every_completed_order_has_one_invoice(
        &self,
        db: &DatabaseConnection,
    ) -> Result<(), String> {
        let invoiced: Vec<_> = self.invoices.iter().filter_map(|i| i.order_id).collect();
        let distinct: BTreeSet<_> = invoiced.iter().copied().collect();
        let completed: BTreeSet<_> = self
            .orders
            .iter()
            .filter(|order| order.state == OrderState::Completed)
            .map(|order| order.id)
            .collect();
        demand!(
            distinct == completed && invoiced.len() == completed.len(),
            "completed {completed:?}, invoiced {invoiced:?}"
        );
        for invoice in &self.invoices {
            let lines = self
                .lines
                .iter()
                .filter(|line| line.invoice_id == invoice.id);
            demand!(
                invoice.state == InvoiceState::Issued && lines.count() == 1,
                "invoice {} is {:?}, or has other lines than one",
                invoice.id,
                invoice.state
            );
        }
        for series in invoices::audit(db).await.unwrap() {
            demand!(
                series.faults.is_empty(),
                "the numbers of {}: {:?}",
                series.year,
                series.faults
            );
        }
        let mut sequences: Vec<_> = self.invoices.iter().filter_map(|i| i.sequence).collect();
        sequences.sort_unstable();
        let last = i64::try_from(completed.len()).unwrap();
        demand!(
            sequences == (1..=last).collect::<Vec<_>>(),
            "the numbers are {sequences:?}"
        );
        Ok(())
    }

    fn every_invoice_has_one_document(&self) -> Result<(), String> {
        for invoice in &self.invoices {
            let documents = self.documents.iter().filter(|d| d.invoice_id == invoice.id);
            let count = documents.count();
            demand!(count == 1, "invoice {} has {count} documents", invoice.id);
        }
        for document in &self.documents {
            let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&document.bytes));
            demand!(
                hash == document.sha256,
                "document {} is not what it was",
                document.id
            );
        }
        demand!(
            self.documents.len() == self.invoices.len(),
            "{} documents for {} invoices",
            self.documents.len(),
            self.invoices.len()
        );
        Ok(())
    }

    fn every_delivery_is_one_mail(&self, world: &World<'_>) -> Result<(), String> {
        let mut mails: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (message_id, body) in world.post.ledger() {
            mails.entry(message_id).or_default().push(body);
        }
        for document in &self.documents {
            let deliveries = self
                .deliveries
                .iter()
                .filter(|d| d.document_id == Some(document.id));
            let count = deliveries.count();
            demand!(
                count == 1,
                "document {} has {count} deliveries",
                document.id
            );
        }
        for delivery in &self.deliveries {
            let taken = mails.remove(&delivery.message_id).unwrap_or_default();
            let allowed = match delivery.state {
                DeliveryState::Sent => 1..=1,
                DeliveryState::Ambiguous => 0..=1,
                DeliveryState::Refused | DeliveryState::Undeliverable | DeliveryState::Dropped => {
                    0..=0
                }
                state => return Err(format!("mail {} is {state:?}", delivery.id)),
            };
            demand!(
                allowed.contains(&taken.len()),
                "mail {} is {:?} and was taken {} times",
                delivery.id,
                delivery.state,
                taken.len()
            );
            demand!(
                (delivery.state == DeliveryState::Undeliverable) == delivery.recipient.is_empty(),
                "mail {} to {:?} is {:?}",
                delivery.id,
                delivery.recipient,
                delivery.state
            );
            let once = Outgoing::once(
                delivery.id,
                delivery.id,
                &EmailSend {
                    delivery_id: delivery.id,
                },
            );
            let disturbed =
                |faults: &[PostFault]| world.post.disturbed(&delivery.message_id, faults);
            let caused = match delivery.state {
                DeliveryState::Refused => {
                    disturbed(&[PostFault::RefusedAtBegin, PostFault::RefusedAfterBody])
                }
                DeliveryState::Ambiguous => {
                    disturbed(&[PostFault::AmbiguousKept, PostFault::AmbiguousDropped])
                        || world.half_done.contains(&once.id)
                }
                _ => true,
            };
            demand!(
                caused,
                "mail {} is {:?} for no reason",
                delivery.id,
                delivery.state
            );
            for mail in taken {
                let document = self
                    .documents
                    .iter()
                    .find(|d| Some(d.id) == delivery.document_id);
                let pdf = data_encoding::BASE64.encode(&document.unwrap().bytes);
                let text = String::from_utf8_lossy(&mail).replace("\r\n", "");
                demand!(
                    text.contains(&pdf) && text.contains(RECIPIENT),
                    "mail {} does not carry the document that is stored",
                    delivery.id
                );
            }
        }
        demand!(mails.is_empty(), "mails that nobody planned: {mails:?}");
        Ok(())
    }

    /// What was healed says so: no customer reads of a failure that is over.
    fn every_stage_is_over(&self) -> Result<(), String> {
        for stage in &self.stages {
            let held = self.deliveries.iter().any(|delivery| {
                delivery.subject_id == stage.subject_id && delivery.state != DeliveryState::Sent
            });
            let expected: &[StageState] = match stage.name.as_str() {
                "deliver" if held => &[StageState::Failed],
                _ => &[StageState::Done],
            };
            let rejected = self
                .orders
                .iter()
                .any(|order| order.id == stage.subject_id && order.state == OrderState::Rejected);
            demand!(
                expected.contains(&stage.state) || rejected,
                "the stage {} of {} is {:?}: {:?}",
                stage.name,
                stage.subject_id,
                stage.state,
                stage.last_error
            );
        }
        Ok(())
    }

    fn count(&self, world: &World<'_>) {
        let counts = world.counts;
        for delivery in &self.deliveries {
            match delivery.state {
                DeliveryState::Sent => counts.sent.add(1),
                DeliveryState::Ambiguous => counts.ambiguous.add(1),
                DeliveryState::Refused => counts.refused.add(1),
                _ => counts.undeliverable.add(1),
            }
        }
        for event in &self.events {
            match event.state {
                OrderState::Completed => counts.completed.add(1),
                OrderState::Rejected => counts.rejected.add(1),
                OrderState::Retrying => counts.retrying.add(1),
                OrderState::NeedsReconciliation => counts.needs_reconciliation.add(1),
                OrderState::Failed => counts.failed.add(1),
                _ => {}
            }
        }
        let (found_again, same_token) = world.cloud.repeats();
        counts.found_again.add(found_again);
        counts.same_token.add(same_token);
        let late = |inserts: u64, rows: usize| {
            inserts.saturating_sub(u64::try_from(rows).unwrap_or_default())
        };
        let tried = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let inserts = &world.inserts;
        counts
            .orders_stored_twice
            .add(late(tried(&inserts.orders), self.orders.len()));
        counts
            .invoices_drafted_twice
            .add(late(tried(&inserts.invoices), self.invoices.len()));
        counts
            .documents_rendered_twice
            .add(late(tried(&inserts.documents), self.documents.len()));
    }
}

/// Every message that ever was, handled twice more.
async fn nothing_changes_when_messages_repeat(
    world: &World<'_>,
    before: &Rows,
) -> Result<(), String> {
    let mut old: Vec<&Stored> = Vec::new();
    for message in &world.history {
        let same = |other: &&Stored| other.id == message.id && other.body == message.body;
        if !old.iter().any(same) {
            old.push(message);
        }
    }
    let (servers, mails) = (world.cloud.ledger().len(), world.post.ledger().len());
    for message in old {
        let first = repeat(world, message).await?;
        let second = repeat(world, message).await?;
        demand!(
            first == second,
            "repeats of {} {} differ: {first:?}, {second:?}",
            message.kind,
            message.id
        );
        let answered = world.answers.get(&(message.id, message.body.clone()));
        let answered = answered.cloned().unwrap_or_default();
        // An order that comes again asks only for the servers that are still missing.
        let withdrawn = answered.difference(&first).next().is_some();
        demand!(
            !withdrawn || message.kind == OrderPlace::KIND,
            "{} {} was answered with {answered:?}, now with {first:?}",
            message.kind,
            message.id
        );
    }
    demand!(
        *before == Rows::read(&world.db).await,
        "a repeated message changed a row"
    );
    demand!(
        (servers, mails) == (world.cloud.ledger().len(), world.post.ledger().len()),
        "a repeated message had an effect outside"
    );
    Ok(())
}

async fn repeat(world: &World<'_>, message: &Stored) -> Result<BTreeSet<Uuid>, String> {
    let handled = Arc::clone(&world.workers).handle(message.clone()).await;
    let outgoing = handled.map_err(|failure| {
        let error = failure.chain();
        format!(
            "a repetition of {} {} failed: {error}",
            message.kind, message.id
        )
    })?;
    Ok(outgoing.iter().map(|outgoing| outgoing.id).collect())
}
