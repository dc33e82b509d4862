//! The lines of the first invoice of an order: one-off charges, and the first month in advance.

use anyhow::Context;
use chrono::{DateTime, Days, LocalResult, Months, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use schemas::values::{Currency, Quantity};

use super::content::{BilledPeriod, Line, Unit};
use super::tax::{DatedRate, Parties, tax_of};
use crate::store::catalog::PriceSnapshot;

/// The month that begins at `start`, in the account's zone: the 31st is followed by the last day of
/// a shorter month.
pub(crate) fn month_from(start: DateTime<Utc>, zone: Tz) -> BilledPeriod {
    let local = start.with_timezone(&zone).naive_local();
    let local_end = local.checked_add_months(Months::new(1)).unwrap_or(local);
    let (first_day, end_day) = (local.date(), local_end.date());
    BilledPeriod {
        start,
        end: instant(local_end, zone),
        first_day,
        last_day: end_day
            .checked_sub_days(Days::new(1))
            .unwrap_or(end_day)
            .max(first_day),
    }
}

/// The instant of a local time. One that a clock change skips is taken an hour later, one that it
/// repeats is taken the first time.
fn instant(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.to_utc(),
        LocalResult::None => {
            let later = local + chrono::TimeDelta::hours(1);
            zone.from_local_datetime(&later)
                .earliest()
                .map_or_else(|| local.and_utc(), |at| at.to_utc())
        }
    }
}

/// What is charged for an order, and how it is taxed.
pub(crate) struct Charges<'a> {
    pub(crate) prices: &'a [PriceSnapshot],
    pub(crate) quantity: Quantity,
    pub(crate) currency: Currency,
    /// What was ordered, for the text of the lines: the name of the resource.
    pub(crate) name: &'a str,
    pub(crate) period: BilledPeriod,
    pub(crate) parties: &'a Parties,
    pub(crate) rates: &'a [DatedRate],
    /// The day that decides about the rate of tax.
    pub(crate) day: NaiveDate,
}

impl Charges<'_> {
    /// The lines, one-off charges first.
    ///
    /// # Errors
    /// When a rate of tax is missing or an amount does not fit.
    pub(crate) fn lines(&self) -> anyhow::Result<Vec<Line>> {
        let one_off = self
            .prices
            .iter()
            .filter(|price| !price.monthly && !price.usage);
        let monthly = self.prices.iter().filter(|price| price.monthly);
        one_off
            .chain(monthly)
            .zip(1..)
            .map(|(price, position)| self.line(price, position))
            .collect()
    }

    fn line(&self, price: &PriceSnapshot, position: u32) -> anyhow::Result<Line> {
        let (category, rate) = tax_of(self.parties, &price.tax_class, self.day, self.rates)?;
        let net = price
            .unit_price
            .times(self.quantity, self.currency)
            .with_context(|| format!("the amount of line {position}"))?;
        Ok(Line {
            position,
            description: format!("{} · {}", price.description, self.name),
            quantity: self.quantity,
            unit: if price.monthly {
                Unit::Month
            } else {
                Unit::Piece
            },
            unit_price: price.unit_price,
            net,
            category,
            rate,
            period: price.monthly.then_some(self.period),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(start: &str, zone: Tz) -> (String, (NaiveDate, NaiveDate)) {
        let period = month_from(start.parse().unwrap(), zone);
        (period.end.to_rfc3339(), (period.first_day, period.last_day))
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn months_are_counted_where_the_account_is() {
        let berlin = chrono_tz::Europe::Berlin;
        let (end, days) = month("2026-11-22T10:00:00Z", berlin);
        assert_eq!(end, "2026-12-22T10:00:00+00:00");
        assert_eq!(days, (day("2026-11-22"), day("2026-12-21")));
        // 23:30 UTC is already the next day in Berlin.
        let (_, days) = month("2026-11-30T23:30:00Z", berlin);
        assert_eq!(days, (day("2026-12-01"), day("2026-12-31")));
    }

    #[test]
    fn short_months_end_on_their_last_day() {
        let (end, days) = month("2027-01-31T12:00:00Z", Tz::UTC);
        assert_eq!(end, "2027-02-28T12:00:00+00:00");
        assert_eq!(days, (day("2027-01-31"), day("2027-02-27")));
        let (_, leap) = month("2028-01-31T12:00:00Z", Tz::UTC);
        assert_eq!(leap, (day("2028-01-31"), day("2028-02-28")));
    }

    #[test]
    fn clock_changes_neither_lose_nor_gain_an_hour_on_the_wall() {
        let berlin = chrono_tz::Europe::Berlin;
        // The clock goes forward on 2027-03-28 at 02:00.
        assert_eq!(
            month("2027-03-20T11:00:00Z", berlin).0,
            "2027-04-20T10:00:00+00:00"
        );
        // 2027-03-28 02:30 does not exist there.
        assert_eq!(
            month("2027-02-28T01:30:00Z", berlin).0,
            "2027-03-28T01:30:00+00:00"
        );
    }

    #[test]
    fn lines_carry_charge_period_and_tax() {
        let price = |component: &str, monthly, unit_price: &str, class: &str| PriceSnapshot {
            component: component.to_owned(),
            description: component.to_owned(),
            monthly,
            usage: false,
            unit_price: unit_price.parse().unwrap(),
            tax_class: class.to_owned(),
        };
        let prices = [
            price("server", true, "9.90", "standard"),
            price("setup", false, "5", "reduced"),
        ];
        let parties = Parties {
            seller: "DE".parse().unwrap(),
            seller_exempt: false,
            buyer: "DE".parse().unwrap(),
            buyer_has_foreign_vat_id: false,
        };
        let rate = |class: &str, rate: &str| DatedRate {
            country: "DE".parse().unwrap(),
            class: class.to_owned(),
            rate: rate.parse().unwrap(),
            from: day("2000-01-01"),
            until: None,
        };
        let charges = Charges {
            prices: &prices,
            quantity: 3.into(),
            currency: "EUR".parse().unwrap(),
            name: "web",
            period: month_from("2026-11-22T10:00:00Z".parse().unwrap(), Tz::UTC),
            parties: &parties,
            rates: &[rate("standard", "19"), rate("reduced", "7")],
            day: day("2026-11-22"),
        };
        let lines = charges.lines().unwrap();
        let summary: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    line.position,
                    line.description.as_str(),
                    line.net.minor,
                    line.rate.to_string(),
                )
            })
            .collect();
        assert_eq!(
            summary,
            [
                (1, "setup · web", 1500, "7".to_owned()),
                (2, "server · web", 2970, "19".to_owned())
            ]
        );
        assert_eq!(lines[0].period, None);
        assert_eq!(
            lines[1].period.map(|period| period.last_day),
            Some(day("2026-12-21"))
        );
    }
}
