//! Invoices that are asked for: everything up to now that is not invoiced yet, and nothing twice.
//!
//! The request is taken in → the meters are read at the providers → the invoice is issued.

mod ask;
mod usage;

pub(crate) use ask::RequestInvoice;
pub(crate) use usage::ReadUsage;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Next, Outgoing, crash_point};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use entity::invoice::InvoiceKind;
use entity::request::{self, RequestStatus};
use entity::resource::{self, ResourceState};
use entity::usage_record;
use rust_decimal::Decimal;
use schemas::invoice::{InvoiceSettle, invoice_id};
use schemas::provision::UsageRead;
use schemas::topology::{self, WorkQueue};
use schemas::{Problem, problem};
use sea_orm::DatabaseConnection;
use uuid::Uuid;

use super::invoice::{Cause, Head, compose, follow_ups};
use super::{missing, permanent, show_failure};
use crate::billing::content::Line;
use crate::billing::tax::NoRate;
use crate::billing::unbilled::{Charged, Metered, Terms, Unbilled};
use crate::store::catalog::PriceSnapshot;
use crate::store::invoices::{self, Draft, Given};
use crate::store::{self, orders, requests, stages, usage as records};

const AGAIN: Duration = Duration::from_secs(5);

/// Consumes `invoice.settle.v1`.
pub(crate) struct SettleInvoice {
    pub(crate) db: DatabaseConnection,
}

impl Handler for SettleInvoice {
    type Message = InvoiceSettle;

    fn queue(&self) -> WorkQueue {
        topology::INVOICE_SETTLE
    }

    async fn handle(&self, message: &Envelope<InvoiceSettle>) -> Handled {
        let id = message.body.request_id;
        let row = requests::find(&self.db, id).await;
        let row = row.context("find the request")?;
        let row = row.ok_or_else(|| missing("request", id))?;
        if row.status == RequestStatus::Accepted {
            if let Some(earlier) = records::waits_for(&self.db, &row).await? {
                let error = anyhow!("the invoice of request {earlier} comes first");
                return Err(Failure::NotYet(AGAIN, error));
            }
            let unread = self.settle(&row).await?;
            if !unread.is_empty() {
                return Ok(unread);
            }
        }
        let row = requests::find(&self.db, id).await;
        let row = row.context("find the request")?.context("it is gone")?;
        if let Some(rejected) = requests::rejection(&row)? {
            return Ok(vec![Outgoing::once(id, id, &rejected)]);
        }
        let issued = invoices::find(&self.db, invoice_id(id)).await;
        let issued = issued.context("find the invoice")?;
        follow_ups(&issued.context("the invoice is gone")?, id)
    }

    async fn failed(&self, message: &Envelope<InvoiceSettle>, error: &str, next: Next) {
        let id = message.body.request_id;
        show_failure(&self.db, id, stages::SETTLE, error, next).await;
    }
}

/// A resource with what is charged for it.
struct Settled {
    resource: resource::Model,
    until: DateTime<Utc>,
    charged: Charged,
}

impl SettleInvoice {
    /// Issues the invoice, or says that there is nothing to invoice. Returns what has to be read first.
    async fn settle(&self, row: &request::Model) -> Result<Vec<Outgoing>, Failure> {
        let waiting = Waiting::of(&self.db, row).await?;
        let unread = waiting.unread(row)?;
        if !unread.is_empty() {
            return Ok(unread);
        }
        let Waiting {
            resources,
            prices,
            readings,
        } = waiting;
        let head = Head::of(&self.db, row.account_id).await?;
        let zone = head.zone()?;
        let now = Given {
            sequence: 0,
            at: store::now(&self.db).await.context("ask for the time")?,
        };
        let today = now.at.with_timezone(&zone.0).date_naive();
        let mut settled = Vec::new();
        for resource in resources {
            // An ingress whose clock is ahead invoices nothing of the future.
            let asked = row.requested_at.min(now.at);
            let until = resource.terminated_at.unwrap_or(asked).min(asked);
            let said = readings
                .iter()
                .filter(|said| said.resource_id == resource.id);
            let meters = self.meters(&resource, said).await?;
            let prices = prices.get(&resource.order_id);
            let unbilled = Unbilled {
                name: &resource.name,
                prices: prices.map(Vec::as_slice).unwrap_or_default(),
                from: resource.billed_until.unwrap_or(until),
                until,
                meters,
            };
            let charged = charge(&head, today, &unbilled)?;
            settled.push(Settled {
                resource,
                until,
                charged,
            });
        }
        let lines: Vec<Line> = settled
            .iter()
            .flat_map(|settled| settled.charged.lines.iter().cloned())
            .zip(1..)
            .map(|(line, position)| Line { position, ..line })
            .collect();
        if lines.is_empty() {
            return self.nothing(row, &settled).await;
        }
        // Everything that can fail comes before the number: a dry run of the content.
        let cause = Cause::Request(row);
        compose(&head, &cause, lines.clone(), now, today)?;
        self.issue(row, &settled, (&head, lines), today).await?;
        Ok(Vec::new())
    }

    async fn issue(
        &self,
        row: &request::Model,
        settled: &[Settled],
        (head, lines): (&Head, Vec<Line>),
        today: NaiveDate,
    ) -> Result<(), Failure> {
        let (id, zone) = (invoice_id(row.id), head.zone()?);
        let transaction = store::begin(&self.db).await?;
        let draft = Draft {
            id,
            account_id: row.account_id,
            kind: InvoiceKind::Invoice,
            corrects: None,
            order_id: None,
            issuer_id: head.issuer.id,
            currency: head.account.currency.clone(),
            trace_id: broker::current_trace_id(),
        };
        if !invoices::insert_draft(&transaction, draft).await? {
            return Ok(());
        }
        for Settled {
            resource,
            until,
            charged,
        } in settled
        {
            let mut still = true;
            if charged.months {
                still = records::billed(&transaction, id, resource, *until).await?;
            }
            for meter in &charged.meters {
                still &= records::metered(&transaction, id, resource.id, meter).await?;
            }
            if !still {
                let error = anyhow!("another invoice has come in between");
                return Err(Failure::NotYet(AGAIN, error));
            }
            if over(resource, *until) {
                records::settled(&transaction, resource.id).await?;
            }
        }
        requests::made(&transaction, row.id, id).await?;
        stages::done(&transaction, row.id, stages::SETTLE).await?;
        stages::pending(&transaction, id, stages::RENDER).await?;
        stages::pending(&transaction, id, stages::DELIVER).await?;
        let kind = InvoiceKind::Invoice;
        let given = invoices::next_number(&transaction, head.issuer.id, kind, today.year()).await;
        let given = given.context("take the next number")?;
        crash_point("settle.numbered");
        let day = given.at.with_timezone(&zone.0).date_naive();
        if day.year() != today.year() {
            let error = anyhow!("the year changed while the number was taken");
            return Err(Failure::NotYet(AGAIN, error));
        }
        let content = compose(head, &Cause::Request(row), lines, given, day)?;
        invoices::issue(&transaction, id, given, &content)
            .await
            .context("issue")?;
        transaction.commit().await.context("commit the invoice")?;
        crash_point("settle.committed");
        Ok(())
    }

    /// Says that everything is invoiced already.
    async fn nothing(
        &self,
        row: &request::Model,
        settled: &[Settled],
    ) -> Result<Vec<Outgoing>, Failure> {
        let transaction = store::begin(&self.db).await?;
        for Settled {
            resource, until, ..
        } in settled
        {
            if over(resource, *until) {
                records::settled(&transaction, resource.id).await?;
            }
        }
        let detail = "Everything up to now is invoiced, or comes to less than the smallest coin.";
        let problem = Problem::new(problem::NOTHING_TO_INVOICE, detail);
        requests::reject(&transaction, row.id, &problem).await?;
        stages::done(&transaction, row.id, stages::SETTLE).await?;
        transaction.commit().await.context("store the outcome")?;
        Ok(Vec::new())
    }

    /// The meters of a resource, when they were last invoiced and as they were read.
    async fn meters(
        &self,
        resource: &resource::Model,
        said: impl Iterator<Item = &usage_record::Model>,
    ) -> Result<Vec<Metered>, Failure> {
        let before = records::meters(&self.db, resource.id).await;
        let before = before.context("find the meters")?;
        let number = |text: &str| text.parse::<Decimal>().context("read a meter");
        // The last word before a server was deleted counts more than an earlier one.
        let mut said: Vec<_> = said.collect();
        said.sort_by_key(|said| said.read_at);
        let mut meters: HashMap<&str, Metered> = HashMap::new();
        for said in said.into_iter().filter(|said| !said.meter.is_empty()) {
            let known = before.iter().find(|known| known.name == said.meter);
            let since = known.map_or(resource.activated_at, |known| Some(known.billed_until));
            let metered = Metered {
                name: said.meter.clone(),
                unit: said.unit.clone(),
                before: known.map_or(Ok(Decimal::ZERO), |known| number(&known.counter))?,
                since: since.unwrap_or(said.read_at),
                now: number(&said.counter)?,
                read_at: said.read_at,
            };
            if metered.read_at > metered.since {
                meters.insert(&said.meter, metered);
            }
        }
        Ok(meters.into_values().collect())
    }
}

/// Whether nothing will be owed for a resource after this.
fn over(resource: &resource::Model, until: DateTime<Utc>) -> bool {
    let ended = resource.state == ResourceState::Terminated;
    ended && resource.terminated_at.is_none_or(|end| end <= until)
}

/// What is not invoiced yet, and what was read of it.
struct Waiting {
    resources: Vec<resource::Model>,
    /// The prices of each order, as they were when it was placed.
    prices: HashMap<Uuid, Vec<PriceSnapshot>>,
    readings: Vec<usage_record::Model>,
}

impl Waiting {
    async fn of(db: &DatabaseConnection, row: &request::Model) -> Result<Self, Failure> {
        let resources = records::unsettled(db, row.account_id).await;
        let resources = resources.context("find the resources")?;
        let mut prices = HashMap::new();
        for order_id in resources.iter().map(|resource| resource.order_id) {
            if prices.contains_key(&order_id) {
                continue;
            }
            let order = orders::find(db, order_id).await;
            let order = order.context("find the order")?;
            let order = order.ok_or_else(|| missing("order", order_id))?;
            let frozen = order.prices.as_deref().unwrap_or("[]");
            let frozen = serde_json::from_str(frozen).context("read the prices of the order")?;
            prices.insert(order_id, frozen);
        }
        let readings = records::readings(db, row.id, &resources).await;
        Ok(Self {
            readings: readings.context("find what was read")?,
            resources,
            prices,
        })
    }

    /// The readings that are missing: of resources that have a price by a meter and still exist.
    fn unread(&self, row: &request::Model) -> anyhow::Result<Vec<Outgoing>> {
        let metered = |resource: &&resource::Model| {
            let prices = self.prices.get(&resource.order_id);
            prices.is_some_and(|prices| prices.iter().any(|price| price.usage))
        };
        let missing = |resource: &&resource::Model| {
            let said = |said: &usage_record::Model| said.resource_id == resource.id;
            resource.state != ResourceState::Terminated && !self.readings.iter().any(said)
        };
        let unread = self.resources.iter().filter(metered).filter(missing);
        unread
            .map(|resource| {
                let read = UsageRead {
                    request_id: row.id,
                    resource_id: resource.id,
                    provider: resource.provider.parse().context("read the provider")?,
                };
                let id = Uuid::new_v5(&row.id, resource.id.as_bytes());
                Ok(Outgoing::once(id, row.id, &read))
            })
            .collect()
    }
}

fn charge(head: &Head, day: NaiveDate, unbilled: &Unbilled<'_>) -> Result<Charged, Failure> {
    let account = &head.account;
    let zone: schemas::values::TimeZone = account
        .time_zone
        .parse()
        .context("read the time zone of the account")?;
    let terms = Terms {
        currency: account
            .currency
            .parse()
            .context("read the currency of the account")?,
        zone: zone.0,
        parties: &head.parties,
        rates: &head.rates,
        day,
    };
    terms
        .charge(unbilled)
        .map_err(|error| match error.is::<NoRate>() {
            true => permanent("no_tax_rate", error),
            false => permanent("unbillable", error),
        })
}
