//! The view model of an invoice: every text as it is printed. Both renderers place these texts and
//! make none of their own, so both print the same.

use schemas::values::CountryCode;
use serde::Serialize;

use super::fonts::printable;
use super::format::Formats;
use super::labels::{self, Labels, labels};
use crate::billing::content::{Address, InvoiceContent, Line};

/// An invoice, ready to be printed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InvoiceView {
    /// BCP 47 tag.
    pub(crate) lang: &'static str,
    pub(crate) labels: Labels,
    /// `Invoice INV-2026-000001`.
    pub(crate) title: String,
    pub(crate) number: String,
    pub(crate) seller_name: String,
    /// The seller in one line, above the buyer's address.
    pub(crate) sender: String,
    pub(crate) seller: Vec<String>,
    pub(crate) buyer: Vec<String>,
    /// Label and value of what identifies the invoice.
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) amount_heading: String,
    pub(crate) lines: Vec<LineView>,
    /// Label and amount of the totals, but for the last one.
    pub(crate) sums: Vec<(String, String)>,
    pub(crate) total: String,
    /// What the law wants to read.
    pub(crate) notes: Vec<String>,
    pub(crate) terms: String,
    /// Label and value of where to pay.
    pub(crate) bank: Vec<(String, String)>,
    pub(crate) footer: Vec<String>,
    /// Whether there is a logo to show.
    pub(crate) logo: bool,
    /// ISO date of issue, for the metadata of the document.
    pub(crate) date: [i32; 3],
}

/// One line of an invoice.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LineView {
    pub(crate) position: String,
    pub(crate) description: String,
    /// The period it is for; empty if it is for none.
    pub(crate) period: String,
    pub(crate) quantity: String,
    pub(crate) unit_price: String,
    pub(crate) tax: String,
    pub(crate) net: String,
}

impl InvoiceView {
    /// The view of an invoice.
    ///
    /// # Errors
    /// When the formats of its language cannot be loaded.
    pub(crate) fn new(content: &InvoiceContent, logo: bool) -> anyhow::Result<Self> {
        use chrono::Datelike;
        let locale = content.locale;
        let formats = Formats::new(locale)?;
        let credit = content.corrects.as_ref();
        let words = match credit {
            Some(_) => labels::of_credit_note(locale),
            None => labels(locale),
        };
        let fact = |label: &str, value: &str| (label.to_owned(), printable(value));
        let total = formats.money(content.total);
        let due = formats.date(content.due_date);

        let mut facts = vec![
            fact(words.number, &content.number),
            fact(words.issue_date, &formats.date(content.issue_date)),
        ];
        match credit {
            Some(corrected) => facts.push(fact(
                words.due_date,
                &format!(
                    "{}, {}",
                    corrected.number,
                    formats.date(corrected.issue_date)
                ),
            )),
            None => facts.push(fact(words.due_date, &due)),
        }
        let order = content.order_id.map(|id| short_id(&id.to_string()));
        facts.extend(order.map(|id| fact(words.order, &id)));
        facts.extend(
            content
                .external_ref
                .iter()
                .map(|reference| fact(words.reference, reference)),
        );
        facts.extend(
            content
                .buyer
                .vat_id
                .iter()
                .map(|id| fact(words.your_vat_id, id)),
        );

        let mut sums = vec![fact(words.net, &formats.money(content.net))];
        for tax in &content.taxes {
            let rate = formats.percent(tax.rate.decimal());
            let label = format!(
                "{} {rate} {} {}",
                words.tax,
                words.on,
                formats.money(tax.base)
            );
            sums.push(fact(&label, &formats.money(tax.tax)));
        }
        let mut notes = Vec::new();
        for note in content
            .taxes
            .iter()
            .filter_map(|tax| labels::note(locale, tax.category))
        {
            if !notes.iter().any(|known| known == note) {
                notes.push(note.to_owned());
            }
        }

        notes.extend(credit.map(|corrected| printable(&corrected.reason)));

        let seller = &content.seller;
        let address = &seller.address;
        let foreign = address.country != content.buyer.address.country;
        let contact = [&seller.phone, &seller.email, &seller.website].map(|text| text.as_str());
        let vat_id = seller
            .vat_id
            .as_ref()
            .map(|id| format!("{} {id}", words.vat_id))
            .unwrap_or_default();
        Ok(Self {
            lang: locale.as_str(),
            labels: words,
            title: printable(&format!("{} {}", words.invoice, content.number)),
            number: printable(&content.number),
            seller_name: printable(&address.name),
            sender: printable(&joined(
                [
                    address.name.as_str(),
                    &address.street.replace('\n', ", "),
                    &format!("{} {}", address.postal_code, address.city),
                ],
                " · ",
            )),
            seller: address_lines(address, foreign)
                .into_iter()
                .chain(
                    contact
                        .into_iter()
                        .filter(|text| !text.is_empty())
                        .map(printable),
                )
                .collect(),
            buyer: address_lines(&content.buyer.address, foreign),
            facts,
            amount_heading: format!("{} ({})", words.amount, content.currency),
            lines: content
                .lines
                .iter()
                .map(|line| line_view(line, content, &formats))
                .collect(),
            sums,
            terms: match credit {
                Some(_) => labels::credit_terms(locale, &total),
                None => labels::payment_terms(locale, &total, &due, content.payment_terms_days),
            },
            total,
            notes,
            bank: [
                (words.bank, &seller.bank_name),
                ("IBAN", &seller.iban),
                ("BIC", &seller.bic),
                (words.purpose, &content.number),
            ]
            .into_iter()
            .filter(|(_, value)| !value.is_empty() && credit.is_none())
            .map(|(label, value)| fact(label, value))
            .collect(),
            footer: [printable(&joined(
                [address.name.as_str(), &seller.registration, &vat_id],
                " · ",
            ))]
            .into(),
            logo,
            date: [
                content.issue_date.year(),
                i32::try_from(content.issue_date.month()).unwrap_or(1),
                i32::try_from(content.issue_date.day()).unwrap_or(1),
            ],
        })
    }
}

fn line_view(line: &Line, content: &InvoiceContent, formats: &Formats) -> LineView {
    let one = line.quantity.decimal() == rust_decimal::Decimal::ONE;
    let quantity = formats.number(line.quantity.decimal().normalize());
    let unit = labels::unit(content.locale, line.unit, one);
    LineView {
        position: line.position.to_string(),
        description: printable(&line.description),
        period: line.period.map_or_else(String::new, |period| {
            format!(
                "{} – {}",
                formats.date(period.first_day),
                formats.date(period.last_day)
            )
        }),
        quantity: format!("{quantity} {unit}"),
        unit_price: formats.unit_price(line.unit_price.decimal(), content.currency),
        tax: formats.percent(line.rate.decimal()),
        net: formats.amount(line.net),
    }
}

/// The lines of an address; with the country in capitals if it goes abroad (UPU S42).
fn address_lines(address: &Address, foreign: bool) -> Vec<String> {
    let town = format!("{} {}", address.postal_code, address.city);
    let country = address
        .country
        .parse::<CountryCode>()
        .map(|country| country.english_name().to_uppercase());
    let mut lines = vec![address.name.clone()];
    lines.extend(address.street.lines().map(str::to_owned));
    lines.push(town.trim().to_owned());
    lines.extend(country.ok().filter(|_| foreign));
    lines
        .iter()
        .map(|line| printable(line))
        .filter(|line| !line.is_empty())
        .collect()
}

fn joined<const N: usize>(parts: [&str; N], separator: &str) -> String {
    parts
        .into_iter()
        .filter(|part| !part.trim().is_empty())
        .collect::<Vec<_>>()
        .join(separator)
}

/// The first group of a UUID: enough to recognise an order by.
fn short_id(id: &str) -> String {
    id.split('-').take(2).collect::<Vec<_>>().join("-")
}
