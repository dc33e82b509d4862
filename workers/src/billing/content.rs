//! Everything that is printed on an invoice, frozen when it is issued.

use chrono::{DateTime, NaiveDate, Utc};
use schemas::values::{Currency, Locale, Money, Quantity, Rate, UnitPrice};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::tax::Category;

/// The content of an invoice. Kept as JSON beside it; fields are only added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InvoiceContent {
    pub(crate) number: String,
    pub(crate) issue_date: NaiveDate,
    pub(crate) due_date: NaiveDate,
    pub(crate) payment_terms_days: u32,
    pub(crate) currency: Currency,
    pub(crate) locale: Locale,
    /// The order it is for, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) order_id: Option<Uuid>,
    pub(crate) external_ref: Option<String>,
    /// What a credit note corrects, and why. Then amounts are what is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) corrects: Option<Corrected>,
    pub(crate) seller: Seller,
    pub(crate) buyer: Buyer,
    pub(crate) lines: Vec<Line>,
    pub(crate) taxes: Vec<TaxSubtotal>,
    pub(crate) net: Money,
    pub(crate) tax: Money,
    pub(crate) total: Money,
}

/// The invoice that a credit note corrects (EN 16931 BG-3), and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Corrected {
    pub(crate) number: String,
    pub(crate) issue_date: NaiveDate,
    pub(crate) reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) street: String,
    pub(crate) postal_code: String,
    pub(crate) city: String,
    pub(crate) country: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seller {
    pub(crate) address: Address,
    pub(crate) vat_id: Option<String>,
    pub(crate) registration: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) website: String,
    pub(crate) bank_name: String,
    pub(crate) iban: String,
    pub(crate) bic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buyer {
    pub(crate) address: Address,
    pub(crate) vat_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) position: u32,
    pub(crate) description: String,
    pub(crate) quantity: Quantity,
    pub(crate) unit: Unit,
    pub(crate) unit_price: UnitPrice,
    pub(crate) net: Money,
    pub(crate) category: Category,
    pub(crate) rate: Rate,
    pub(crate) period: Option<BilledPeriod>,
}

/// The time a line is for: half open as instants, and its first and last day, both part of it, as
/// the customer reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BilledPeriod {
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
    pub(crate) first_day: NaiveDate,
    pub(crate) last_day: NaiveDate,
}

/// What a quantity counts (UN/ECE Recommendation 20: `C62`, `MON`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Piece,
    Month,
    /// 1,073,741,824 bytes (`E2`).
    Gibibyte,
}

impl Unit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Piece => "piece",
            Self::Month => "month",
            Self::Gibibyte => "gibibyte",
        }
    }
}

/// The tax of one category and rate: rounded once, on the sum of the nets (EN 16931 BR-CO-17).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaxSubtotal {
    pub(crate) category: Category,
    pub(crate) rate: Rate,
    pub(crate) base: Money,
    pub(crate) tax: Money,
}

/// Sums lines by tax category and rate, in the order in which they first appear.
///
/// # Errors
/// When an amount does not fit.
pub(crate) fn totals(
    lines: &[Line],
    currency: Currency,
) -> Result<(Vec<TaxSubtotal>, Money, Money, Money), schemas::values::InvalidValue> {
    let mut taxes: Vec<TaxSubtotal> = Vec::new();
    for line in lines {
        match taxes
            .iter_mut()
            .find(|tax| (tax.category, tax.rate) == (line.category, line.rate))
        {
            Some(subtotal) => subtotal.base = Money::sum([subtotal.base, line.net], currency)?,
            None => taxes.push(TaxSubtotal {
                category: line.category,
                rate: line.rate,
                base: line.net,
                tax: Money::new(0, currency),
            }),
        }
    }
    for subtotal in &mut taxes {
        subtotal.tax = subtotal.rate.of(subtotal.base)?;
    }
    let net = Money::sum(lines.iter().map(|line| line.net), currency)?;
    let tax = Money::sum(taxes.iter().map(|subtotal| subtotal.tax), currency)?;
    let total = Money::sum([net, tax], currency)?;
    Ok((taxes, net, tax, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(net: i64, category: Category, rate: &str, currency: Currency) -> Line {
        Line {
            position: 1,
            description: "x".to_owned(),
            quantity: 1.into(),
            unit: Unit::Piece,
            unit_price: "1".parse().unwrap(),
            net: Money::new(net, currency),
            category,
            rate: rate.parse().unwrap(),
            period: None,
        }
    }

    #[test]
    fn tax_is_rounded_once_per_category_and_rate() {
        let eur: Currency = "EUR".parse().unwrap();
        let lines = [
            line(9999, Category::Standard, "25", eur),
            line(9999, Category::Standard, "25", eur),
            line(500, Category::Standard, "7", eur),
            line(9999, Category::Standard, "25", eur),
            line(1000, Category::Exempt, "0", eur),
        ];
        let (taxes, net, tax, total) = totals(&lines, eur).unwrap();
        let rates: Vec<_> = taxes
            .iter()
            .map(|tax| (tax.rate.to_string(), tax.base.minor, tax.tax.minor))
            .collect();
        assert_eq!(
            rates,
            [
                ("25".into(), 29997, 7499),
                ("7".into(), 500, 35),
                ("0".into(), 1000, 0)
            ]
        );
        assert_eq!((net.minor, tax.minor, total.minor), (31497, 7534, 39031));
    }

    #[test]
    fn every_exponent_adds_up() {
        for (code, net, expected) in [("JPY", 1999, 200), ("EUR", 1999, 200), ("KWD", 1999, 200)] {
            let currency: Currency = code.parse().unwrap();
            let (_, net_sum, tax, total) =
                totals(&[line(net, Category::Standard, "10", currency)], currency).unwrap();
            assert_eq!(
                (net_sum.minor, tax.minor, total.minor),
                (net, expected, net + expected),
                "{code}"
            );
        }
    }
}
