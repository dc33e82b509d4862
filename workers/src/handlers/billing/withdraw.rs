//! Withdraws an invoice that nobody has got. An invoice exists for the tax office once it has been
//! handed over (Directive 2006/112/EC art. 203 and 219; UStAE 14c.1 (8) for Germany): from then on only
//! a credit note corrects it.

use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::Failure;
use entity::email_delivery::{self, DeliveryState};
use entity::invoice::{self, InvoiceState};
use schemas::invoice::InvoiceHandle;
use schemas::{Problem, problem};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter};

use crate::store::parked::audit;
use crate::store::payments::Balance;
use crate::store::{stages, usage};

use super::out_of_force;

const AGAIN: Duration = Duration::from_secs(5);
/// The states of a mail that nobody has got, and that will not be sent once it is dropped.
const KEPT: [DeliveryState; 4] = [
    DeliveryState::Queued,
    DeliveryState::Refused,
    DeliveryState::Undeliverable,
    DeliveryState::Dropped,
];

/// Withdraws an invoice that is locked. The inner error says why it cannot be.
pub(super) async fn void(
    transaction: &DatabaseTransaction,
    invoice: &invoice::Model,
    handle: &InvoiceHandle,
) -> Result<Result<(), Problem>, Failure> {
    if let Some(problem) = out_of_force(invoice) {
        return Ok(Err(problem));
    }
    let balance = Balance::of(transaction, invoice).await?;
    let refuse = |why: &str| {
        let detail = format!("{why}; correct it by a credit note.");
        Ok(Err(Problem::new(problem::CONFLICT, detail)))
    };
    if balance.paid != 0 || balance.credited != 0 {
        return refuse("Something was paid or credited already");
    }
    if invoice.fetched_at.is_some() {
        return refuse("The customer has downloaded it");
    }
    use email_delivery::Column;
    let mails = |but: &[DeliveryState]| {
        email_delivery::Entity::find()
            .filter(Column::SubjectId.eq(invoice.id))
            .filter(Column::State.is_not_in(but.iter().copied()))
            .count(transaction)
    };
    let gone = mails(&KEPT).await.context("look for mails that are gone")?;
    if gone > 0 {
        return refuse("It was mailed to the customer");
    }
    // What it has charged is owed all the same: the next invoice charges it.
    if !usage::give_back(transaction, invoice.id).await? {
        return refuse("A later invoice goes on where this one ends");
    }
    email_delivery::Entity::update_many()
        .col_expr(Column::State, Expr::value(DeliveryState::Dropped))
        .filter(Column::SubjectId.eq(invoice.id))
        .filter(Column::State.is_in(KEPT))
        .exec(transaction)
        .await
        .context("hold the mails back")?;
    let begun = mails(&[DeliveryState::Dropped]).await;
    if begun.context("look for mails that go out")? > 0 {
        // Somebody has begun to send one meanwhile: all of this is undone, and looked at again.
        let error = anyhow!("a mail with the invoice goes out right now");
        return Err(Failure::NotYet(AGAIN, error));
    }
    invoice::Entity::update_many()
        .col_expr(invoice::Column::State, Expr::value(InvoiceState::Voided))
        .filter(invoice::Column::Id.eq(invoice.id))
        .exec(transaction)
        .await
        .context("withdraw the invoice")?;
    for stage in [stages::RENDER, stages::DELIVER] {
        stages::cancelled(transaction, invoice.id, stage).await?;
    }
    let (by, subject) = (handle.by.as_str(), invoice.id.to_string());
    audit(transaction, by, "invoice.void", &subject, None).await?;
    Ok(Ok(()))
}
