//! What a resource costs from when it was last invoiced until now: months in proportion, and what its
//! meters have counted.

use anyhow::Context;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use schemas::values::{Currency, Quantity};

use super::content::{BilledPeriod, Line, Unit};
use super::lines::month_from;
use super::tax::{DatedRate, Parties, tax_of};
use crate::store::catalog::PriceSnapshot;

/// How many decimal places a part of a month or of a unit has.
const PLACES: u32 = 6;

/// A resource that something may be owed for.
#[derive(Debug, Clone)]
pub(crate) struct Unbilled<'a> {
    pub(crate) name: &'a str,
    pub(crate) prices: &'a [PriceSnapshot],
    /// Until when its months are invoiced.
    pub(crate) from: DateTime<Utc>,
    /// Until when they shall be: now, or its end.
    pub(crate) until: DateTime<Utc>,
    pub(crate) meters: Vec<Metered>,
}

/// A meter of a resource, when it was last invoiced and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metered {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) before: Decimal,
    pub(crate) since: DateTime<Utc>,
    pub(crate) now: Decimal,
    pub(crate) read_at: DateTime<Utc>,
}

/// Who is charged, where and when.
pub(crate) struct Terms<'a> {
    pub(crate) currency: Currency,
    pub(crate) zone: Tz,
    pub(crate) parties: &'a Parties,
    pub(crate) rates: &'a [DatedRate],
    /// The day that decides about the rate of tax.
    pub(crate) day: NaiveDate,
}

/// What is charged for a resource. What comes to less than the smallest coin waits for the next time.
#[derive(Debug, Default)]
pub(crate) struct Charged {
    /// Without their places on the invoice.
    pub(crate) lines: Vec<Line>,
    /// Whether its months are charged up to `until`.
    pub(crate) months: bool,
    /// The meters that are charged.
    pub(crate) meters: Vec<Metered>,
}

impl Terms<'_> {
    /// Charges a resource.
    ///
    /// # Errors
    /// When a rate of tax is missing or an amount does not fit.
    pub(crate) fn charge(&self, unbilled: &Unbilled<'_>) -> anyhow::Result<Charged> {
        let mut charged = Charged::default();
        if let Some(quantity) = months(unbilled.from, unbilled.until, self.zone) {
            let period = self.period(unbilled.from, unbilled.until);
            let monthly = unbilled.prices.iter().filter(|price| price.monthly);
            let lines: anyhow::Result<Vec<Line>> = monthly
                .map(|price| self.line(unbilled.name, price, (quantity, Unit::Month), period))
                .collect();
            let lines = lines?;
            if lines.iter().all(|line| line.net.minor > 0) {
                charged.months = true;
                charged.lines.extend(lines);
            }
        }
        for meter in &unbilled.meters {
            let mut of_meter = unbilled.prices.iter();
            let Some(price) = of_meter.find(|price| price.usage && price.component == meter.name)
            else {
                continue;
            };
            // A provider that counts from 0 again has begun anew.
            let counted = if meter.now < meter.before {
                meter.now
            } else {
                meter.now - meter.before
            };
            let Ok(quantity) = counted.round_dp(PLACES).normalize().to_string().parse() else {
                continue;
            };
            let unit = match meter.unit.as_str() {
                "GiB" => Unit::Gibibyte,
                _ => Unit::Piece,
            };
            let period = self.period(meter.since, meter.read_at);
            let line = self.line(unbilled.name, price, (quantity, unit), period)?;
            if line.net.minor > 0 {
                charged.lines.push(line);
                charged.meters.push(meter.clone());
            }
        }
        Ok(charged)
    }

    fn line(
        &self,
        name: &str,
        price: &PriceSnapshot,
        (quantity, unit): (Quantity, Unit),
        period: BilledPeriod,
    ) -> anyhow::Result<Line> {
        let (category, rate) = tax_of(self.parties, &price.tax_class, self.day, self.rates)?;
        let net = price.unit_price.times(quantity, self.currency);
        Ok(Line {
            position: 0,
            description: format!("{} · {name}", price.description),
            quantity,
            unit,
            unit_price: price.unit_price,
            net: net.with_context(|| format!("the amount of {} for {name}", price.component))?,
            category,
            rate,
            period: Some(period),
        })
    }

    fn period(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> BilledPeriod {
        let day = |at: DateTime<Utc>| at.with_timezone(&self.zone).date_naive();
        let first_day = day(start);
        BilledPeriod {
            start,
            end,
            first_day,
            last_day: day(end - TimeDelta::milliseconds(1)).max(first_day),
        }
    }
}

/// How many months lie between two moments, the last one in proportion to its length. Nothing if there
/// are none.
fn months(from: DateTime<Utc>, until: DateTime<Utc>, zone: Tz) -> Option<Quantity> {
    let mut whole = Decimal::ZERO;
    let mut start = from;
    loop {
        let end = month_from(start, zone).end;
        if end > until || end <= start {
            let part = Decimal::from((until - start).num_milliseconds().max(0));
            let month = Decimal::from((end - start).num_milliseconds().max(1));
            let months = (whole + part / month).round_dp(PLACES).normalize();
            return months.to_string().parse().ok();
        }
        whole += Decimal::ONE;
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn counted(from: &str, until: &str) -> Option<String> {
        let months = months(at(from), at(until), chrono_tz::Europe::Berlin);
        months.map(|months| months.to_string())
    }

    #[test]
    fn months_are_counted_whole_and_then_in_proportion() {
        let from = "2026-11-30T11:00:00Z";
        assert_eq!(counted(from, from), None);
        assert_eq!(counted(from, "2026-11-29T11:00:00Z"), None);
        // November 30 to December 30.
        assert_eq!(counted(from, "2026-12-30T11:00:00Z").as_deref(), Some("1"));
        assert_eq!(
            counted(from, "2026-12-15T11:00:00Z").as_deref(),
            Some("0.5")
        );
        // And then 31 days until January 30.
        assert_eq!(
            counted(from, "2027-01-14T23:00:00Z").as_deref(),
            Some("1.5")
        );
    }

    fn price(component: &str, monthly: bool, unit_price: &str) -> PriceSnapshot {
        PriceSnapshot {
            component: component.to_owned(),
            description: component.to_owned(),
            monthly,
            usage: !monthly,
            unit_price: unit_price.parse().unwrap(),
            tax_class: "standard".to_owned(),
        }
    }

    fn charge(unbilled: &Unbilled<'_>) -> Charged {
        let parties = Parties {
            seller: "DE".parse().unwrap(),
            seller_exempt: false,
            buyer: "DE".parse().unwrap(),
            buyer_has_foreign_vat_id: false,
        };
        let rates = [DatedRate {
            country: "DE".parse().unwrap(),
            class: "standard".to_owned(),
            rate: "19".parse().unwrap(),
            from: "2007-01-01".parse().unwrap(),
            until: None,
        }];
        let terms = Terms {
            currency: "EUR".parse().unwrap(),
            zone: chrono_tz::Europe::Berlin,
            parties: &parties,
            rates: &rates,
            day: "2026-12-15".parse().unwrap(),
        };
        terms.charge(unbilled).unwrap()
    }

    #[test]
    fn months_and_meters_are_charged_from_where_they_were_left() {
        let prices = [
            price("server", true, "9.90"),
            price("traffic", false, "0.01"),
        ];
        let meter = |before: &str, now: &str| Metered {
            name: "traffic".to_owned(),
            unit: "GiB".to_owned(),
            before: before.parse().unwrap(),
            since: at("2026-11-30T11:00:00Z"),
            now: now.parse().unwrap(),
            read_at: at("2026-12-15T11:00:01Z"),
        };
        let mut unbilled = Unbilled {
            name: "web",
            prices: &prices,
            from: at("2026-11-30T11:00:00Z"),
            until: at("2026-12-15T11:00:00Z"),
            meters: vec![meter("100", "350.5")],
        };
        let charged = charge(&unbilled);
        let nets: Vec<_> = charged.lines.iter().map(|line| line.net.minor).collect();
        assert_eq!(nets, [495, 251]);
        assert_eq!(charged.lines[1].quantity.to_string(), "250.5");
        let period = charged.lines[0].period.unwrap();
        assert_eq!(
            (period.first_day.to_string(), period.last_day.to_string()),
            ("2026-11-30".to_owned(), "2026-12-15".to_owned())
        );
        // A meter that was set back counts from 0.
        unbilled.meters = vec![meter("100", "50")];
        assert_eq!(charge(&unbilled).lines[1].net.minor, 50);
        // What is less than a cent waits, and is not forgotten.
        unbilled.meters = vec![meter("100", "100.4")];
        unbilled.until = at("2026-11-30T11:10:00Z");
        let little = charge(&unbilled);
        assert!(!little.months && little.lines.is_empty() && little.meters.is_empty());
    }
}
