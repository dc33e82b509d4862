//! What looks after things that stand still, and the clock.

use entity::email_delivery::{self, DeliveryState};
use entity::invoice::InvoiceState;
use entity::order::{self, OrderState};
use entity::resource::{self, ResourceState};
use entity::{document, invoice};
use schemas::Outgoing;
use schemas::document::DocumentRender;
use schemas::email::EmailSend;
use schemas::invoice::InvoiceIssue;
use schemas::provision::ResourceProvision;
use sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait, QueryOrder};

use crate::store::mails;

/// The current step of everything that is not at its end, as the reconciler would find it in the
/// rows. Orders that wait for a person are left alone, unless `failed` are wanted too.
pub(super) async fn current_steps(db: &DatabaseConnection, failed: bool) -> Vec<Outgoing> {
    let mut steps = Vec::new();
    let orders = order::Entity::find().order_by_asc(order::Column::Id);
    let resources = resource::Entity::find().order_by_asc(resource::Column::Id);
    let resources = resources.all(db).await.unwrap();
    let invoices = invoice::Entity::find().order_by_asc(invoice::Column::Id);
    let invoices = invoices.all(db).await.unwrap();
    let documents = document::Entity::find().all(db).await.unwrap();
    for order in orders.all(db).await.unwrap() {
        let id = order.id;
        if order.state == OrderState::Failed && !failed {
            continue;
        }
        let of_order = |resource: &&resource::Model| resource.order_id == id;
        for resource in resources.iter().filter(of_order) {
            if resource.state == ResourceState::Creating {
                let provider = resource.provider.parse().unwrap();
                let provision = ResourceProvision {
                    resource_id: resource.id,
                    provider,
                };
                steps.push(Outgoing::once(resource.id, id, &provision));
            }
        }
        let invoiced = invoices.iter().any(|invoice| invoice.order_id == Some(id));
        if order.state == OrderState::Completed && !invoiced {
            steps.push(Outgoing::once(id, id, &InvoiceIssue { order_id: id }));
        }
    }
    for invoice in &invoices {
        let rendered = documents.iter().any(|found| found.invoice_id == invoice.id);
        if invoice.state == InvoiceState::Issued && !rendered {
            let render = DocumentRender {
                invoice_id: invoice.id,
            };
            steps.push(Outgoing::once(
                invoice.id,
                invoice.order_id.unwrap(),
                &render,
            ));
        }
    }
    let deliveries = email_delivery::Entity::find().order_by_asc(email_delivery::Column::Id);
    for delivery in deliveries.all(db).await.unwrap() {
        let under_way = matches!(
            delivery.state,
            DeliveryState::Queued | DeliveryState::Sending | DeliveryState::DataSent
        );
        if under_way && mails::lease_left(db, delivery.id).await.unwrap().is_zero() {
            let invoice = invoices
                .iter()
                .find(|invoice| invoice.id == delivery.invoice_id)
                .unwrap();
            let send = EmailSend {
                delivery_id: delivery.id,
            };
            steps.push(Outgoing::once(
                delivery.id,
                invoice.order_id.unwrap(),
                &send,
            ));
        }
    }
    steps
}

/// Lets time pass.
///
/// The clock of the database cannot be set. But all that is ever asked of it is whether a stored
/// moment is behind it, so that to move every stored moment back is the same as to move the clock
/// forward. The only stored moments that decide anything are the leases; all others are shown.
pub(super) async fn pass(db: &DatabaseConnection, seconds: u16) {
    let millis = u32::from(seconds) * 1000;
    for table in ["resource", "email_delivery"] {
        let sql = format!("UPDATE {table} SET lease_until_ms = lease_until_ms - {millis}");
        db.execute_unprepared(&sql).await.unwrap();
    }
}
