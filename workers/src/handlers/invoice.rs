//! Issues the invoice of a completed order: lines, tax, number, and then nothing of it changes.

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Next, Outgoing, crash_point};
use chrono::{Datelike, Days, NaiveDate, Utc};
use entity::account::{self, AccountKind};
use entity::invoice::{self, InvoiceKind, InvoiceState};
use entity::order::OrderState;
use entity::{issuer, order, request};
use schemas::document::DocumentRender;
use schemas::event::InvoiceIssued;
use schemas::invoice::{InvoiceIssue, invoice_id};
use schemas::topology::{self, WorkQueue};
use schemas::values::{CountryCode, Currency, Money, Quantity, TimeZone, VatId};
use sea_orm::DatabaseConnection;
use std::time::Duration;
use uuid::Uuid;

use crate::billing::content::{Address, BilledPeriod, Buyer, InvoiceContent, Line, Seller, totals};
use crate::billing::lines::{Charges, month_from};
use crate::billing::tax::{DatedRate, NoRate, Parties};
use crate::store::catalog::{self, PriceSnapshot};
use crate::store::invoices::{self, Draft, Given};
use crate::store::{self, orders, resources, stages, usage};

use super::{missing, permanent, show_failure};

const ORDER_AGAIN: Duration = Duration::from_secs(5);

/// Consumes `invoice.issue.v1`.
pub(crate) struct IssueInvoice {
    pub(crate) db: DatabaseConnection,
}

impl Handler for IssueInvoice {
    type Message = InvoiceIssue;

    fn queue(&self) -> WorkQueue {
        topology::INVOICE
    }

    async fn handle(&self, message: &Envelope<InvoiceIssue>) -> Handled {
        let order_id = message.body.order_id;
        let id = invoice_id(order_id);
        if let Some(issued) = invoices::find(&self.db, id)
            .await
            .context("find the invoice")?
        {
            return follow_ups(&issued, message.correlation_id);
        }
        let order = orders::find(&self.db, order_id)
            .await
            .context("find the order")?;
        let order = order.ok_or_else(|| missing("order", order_id))?;
        if order.state != OrderState::Completed {
            return Err(Failure::NotYet(
                ORDER_AGAIN,
                anyhow!("the order is {:?}", order.state),
            ));
        }
        let basis = self.basis(order).await?;
        self.issue(id, &basis).await?;
        let issued = invoices::find(&self.db, id)
            .await
            .context("find the invoice")?;
        let issued = issued.context("the invoice that was just issued is gone")?;
        tracing::info!(invoice.id = %id, invoice.number = issued.number, "issued invoice {id}");
        follow_ups(&issued, message.correlation_id)
    }

    async fn failed(&self, message: &Envelope<InvoiceIssue>, error: &str, next: Next) {
        show_failure(&self.db, message.body.order_id, stages::ISSUE, error, next).await;
    }
}

/// What follows from an issued invoice, in its story: the same, however often it is asked.
pub(super) fn follow_ups(issued: &invoice::Model, story: Uuid) -> Handled {
    if issued.state == InvoiceState::Draft {
        return Err(Failure::NotYet(
            ORDER_AGAIN,
            anyhow!("the invoice is a draft"),
        ));
    }
    let currency: Currency = issued
        .currency
        .parse()
        .context("read the currency of the invoice")?;
    let render = DocumentRender {
        invoice_id: issued.id,
    };
    let fact = InvoiceIssued {
        invoice_id: issued.id,
        account_id: issued.account_id,
        order_id: issued.order_id,
        number: issued.number.clone().unwrap_or_default(),
        total: Money::new(issued.total_minor, currency),
        issued_at: issued.issued_at.unwrap_or_default(),
    };
    Ok(vec![
        Outgoing::once(issued.id, story, &render),
        Outgoing::once(issued.id, story, &fact),
    ])
}

/// Who invoices whom, read before anything is locked.
pub(super) struct Head {
    pub(super) account: account::Model,
    pub(super) issuer: issuer::Model,
    pub(super) parties: Parties,
    pub(super) rates: Vec<DatedRate>,
}

impl Head {
    pub(super) async fn of(db: &DatabaseConnection, account_id: Uuid) -> Result<Self, Failure> {
        let account = catalog::account(db, account_id)
            .await
            .context("find the account")?;
        let account = account.ok_or_else(|| missing("account", account_id))?;
        let issuer = invoices::issuer(db).await.context("find the issuer")?;
        let issuer = issuer
            .ok_or_else(|| permanent("no_issuer", anyhow!("there is no issuer to invoice for")))?;
        let rates = invoices::rates(db, [&issuer.country, &account.country]).await?;
        let rates = rates
            .into_iter()
            .map(|row| {
                Ok(DatedRate {
                    country: row.country.parse()?,
                    class: row.tax_class,
                    rate: row.rate.parse()?,
                    from: row.valid_from,
                    until: row.valid_until,
                })
            })
            .collect::<Result<_, schemas::values::InvalidValue>>()
            .context("read the tax rates")?;
        Ok(Self {
            parties: parties(&account, &issuer)?,
            account,
            issuer,
            rates,
        })
    }

    /// The zone that the days of the issuer are in.
    pub(super) fn zone(&self) -> Result<TimeZone, Failure> {
        let zone = self.issuer.time_zone.parse();
        Ok(zone.context("read the time zone of the issuer")?)
    }
}

/// What an invoice is for.
pub(super) enum Cause<'a> {
    Order(&'a order::Model),
    Request(&'a request::Model),
}

/// What the invoice of an order is made of.
struct Basis {
    head: Head,
    order: order::Model,
    prices: Vec<PriceSnapshot>,
    /// When the first period begins: with the last resource that became active.
    active_since: chrono::DateTime<Utc>,
}

impl Basis {
    /// The first month.
    fn period(&self) -> Result<BilledPeriod, Failure> {
        let zone: TimeZone = self
            .head
            .account
            .time_zone
            .parse()
            .context("read the time zone of the account")?;
        Ok(month_from(self.active_since, zone.0))
    }
}

impl IssueInvoice {
    async fn basis(&self, order: order::Model) -> Result<Basis, Failure> {
        let head = Head::of(&self.db, order.account_id).await?;
        let prices = order.prices.as_deref().context("the order has no prices")?;
        let prices = serde_json::from_str(prices).context("read the prices of the order")?;
        let resources = resources::of_order(&self.db, order.id)
            .await
            .context("find the resources")?;
        let active_since = resources
            .iter()
            .filter_map(|resource| resource.activated_at)
            .max();
        let active_since = active_since.context("no resource of the completed order is active")?;
        Ok(Basis {
            head,
            order,
            prices,
            active_since,
        })
    }

    async fn issue(&self, id: Uuid, basis: &Basis) -> Result<(), Failure> {
        let zone = basis.head.zone()?;
        // Everything that can fail comes before the number: a dry run of the content.
        let now = Given {
            sequence: 0,
            at: store::now(&self.db).await.context("ask for the time")?,
        };
        let today = now.at.with_timezone(&zone.0).date_naive();
        content(basis, now, today)?;

        let transaction = store::begin(&self.db).await?;
        let draft = Draft {
            id,
            account_id: basis.order.account_id,
            kind: InvoiceKind::Invoice,
            corrects: None,
            order_id: Some(basis.order.id),
            issuer_id: basis.head.issuer.id,
            currency: basis.head.account.currency.clone(),
            trace_id: broker::current_trace_id(),
        };
        if !invoices::insert_draft(&transaction, draft)
            .await
            .context("store the draft")?
        {
            return Ok(());
        }
        // From here on what is asked for goes on; nothing is invoiced twice.
        usage::billed_by_order(&transaction, id, basis.order.id, basis.period()?).await?;
        stages::done(&transaction, basis.order.id, stages::ISSUE).await?;
        stages::pending(&transaction, id, stages::RENDER).await?;
        stages::pending(&transaction, id, stages::DELIVER).await?;
        let given = invoices::next_number(
            &transaction,
            basis.head.issuer.id,
            InvoiceKind::Invoice,
            today.year(),
        )
        .await;
        let given = given.context("take the next number")?;
        crash_point("invoice.numbered");
        let day = given.at.with_timezone(&zone.0).date_naive();
        // Between the look at the calendar and the number a year may have begun.
        if day.year() != today.year() {
            let error = anyhow!("the year changed while the number was taken");
            return Err(Failure::NotYet(ORDER_AGAIN, error));
        }
        invoices::issue(&transaction, id, given, &content(basis, given, day)?)
            .await
            .context("issue")?;
        transaction.commit().await.context("commit the invoice")?;
        crash_point("invoice.committed");
        Ok(())
    }
}

/// The content of the invoice of an order.
fn content(basis: &Basis, given: Given, day: NaiveDate) -> Result<InvoiceContent, Failure> {
    let Basis {
        head,
        order,
        prices,
        ..
    } = basis;
    let charges = Charges {
        prices,
        quantity: Quantity::from(u32::try_from(order.quantity).context("read the quantity")?),
        currency: head
            .account
            .currency
            .parse()
            .context("read the currency of the account")?,
        name: &order.name,
        period: basis.period()?,
        parties: &head.parties,
        rates: &head.rates,
        day,
    };
    let lines = charges
        .lines()
        .map_err(|error| match error.is::<NoRate>() {
            true => permanent("no_tax_rate", error),
            false => permanent("unbillable", error),
        })?;
    compose(head, &Cause::Order(order), lines, given, day)
}

/// The content of an invoice, as it is printed.
pub(super) fn compose(
    head: &Head,
    cause: &Cause<'_>,
    lines: Vec<Line>,
    given: Given,
    day: NaiveDate,
) -> Result<InvoiceContent, Failure> {
    let Head {
        account, issuer, ..
    } = head;
    let currency: Currency = account
        .currency
        .parse()
        .context("read the currency of the account")?;
    let (order_id, external_ref) = match cause {
        Cause::Order(order) => (Some(order.id), order.external_ref.clone()),
        Cause::Request(request) => (None, request.external_ref.clone()),
    };
    let (taxes, net, tax, total) =
        totals(&lines, currency).map_err(|error| permanent("unbillable", error))?;
    let terms = u32::try_from(account.payment_terms_days).context("read the payment terms")?;
    Ok(InvoiceContent {
        number: format!(
            "{}{}-{:06}",
            issuer.invoice_prefix,
            day.year(),
            given.sequence
        ),
        issue_date: day,
        due_date: day.checked_add_days(Days::new(terms.into())).unwrap_or(day),
        payment_terms_days: terms,
        currency,
        locale: account
            .locale
            .parse()
            .context("read the language of the account")?,
        order_id,
        corrects: None,
        external_ref,
        seller: Seller {
            address: Address {
                name: issuer.name.clone(),
                street: issuer.street.clone(),
                postal_code: issuer.postal_code.clone(),
                city: issuer.city.clone(),
                country: issuer.country.clone(),
            },
            vat_id: issuer.vat_id.clone(),
            registration: issuer.registration.clone(),
            email: issuer.email.clone(),
            phone: issuer.phone.clone(),
            website: issuer.website.clone(),
            bank_name: issuer.bank_name.clone(),
            iban: issuer.iban.clone(),
            bic: issuer.bic.clone(),
        },
        buyer: Buyer {
            address: Address {
                name: account.name.clone(),
                street: account.street.clone(),
                postal_code: account.postal_code.clone(),
                city: account.city.clone(),
                country: account.country.clone(),
            },
            vat_id: account.vat_id.clone(),
        },
        lines,
        taxes,
        net,
        tax,
        total,
    })
}

fn parties(account: &account::Model, issuer: &issuer::Model) -> Result<Parties, Failure> {
    let seller: CountryCode = issuer
        .country
        .parse()
        .context("read the country of the issuer")?;
    let vat_id = account
        .vat_id
        .as_deref()
        .map(str::parse::<VatId>)
        .transpose();
    let vat_country = vat_id
        .context("read the VAT id of the account")?
        .and_then(|id| id.country());
    let foreign = vat_country.is_some_and(|country| country.in_eu() && country != seller);
    Ok(Parties {
        seller_exempt: issuer.tax_exempt,
        buyer: account
            .country
            .parse()
            .context("read the country of the account")?,
        buyer_has_foreign_vat_id: account.kind == AccountKind::Business && foreign,
        seller,
    })
}
