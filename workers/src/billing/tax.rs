//! Which tax applies to a supply (Directive 2006/112/EC, for services supplied electronically).

use chrono::NaiveDate;
use schemas::values::{CountryCode, Rate};
use serde::{Deserialize, Serialize};

/// The VAT category of a line, as EN 16931 names them (UNCL 5305).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Category {
    /// Taxed at a rate above zero.
    #[serde(rename = "S")]
    Standard,
    /// The buyer owes the tax (art. 196).
    #[serde(rename = "AE")]
    ReverseCharge,
    /// Supplied outside the European Union, not taxed here.
    #[serde(rename = "G")]
    Export,
    /// Exempt by law.
    #[serde(rename = "E")]
    Exempt,
    /// Taxed at a rate of zero.
    #[serde(rename = "Z")]
    Zero,
}

impl Category {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Standard => "S",
            Self::ReverseCharge => "AE",
            Self::Export => "G",
            Self::Exempt => "E",
            Self::Zero => "Z",
        }
    }
}

/// The tax class of things that are exempt wherever they are sold.
const EXEMPT_CLASS: &str = "exempt";

/// Who sells to whom.
#[derive(Debug, Clone)]
pub(crate) struct Parties {
    pub(crate) seller: CountryCode,
    /// A small business that charges no VAT at all (art. 284).
    pub(crate) seller_exempt: bool,
    pub(crate) buyer: CountryCode,
    /// Whether the buyer is a taxable business with a VAT id of another country than the seller's.
    pub(crate) buyer_has_foreign_vat_id: bool,
}

/// A rate of a country for a class, on the days from `from` up to, not including, `until`.
#[derive(Debug, Clone)]
pub(crate) struct DatedRate {
    pub(crate) country: CountryCode,
    pub(crate) class: String,
    pub(crate) rate: Rate,
    pub(crate) from: NaiveDate,
    pub(crate) until: Option<NaiveDate>,
}

/// There is no rate in the table for this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no tax rate for {class} in {country} on {day}; add it to the tax rates, then replay"
)]
pub(crate) struct NoRate {
    country: CountryCode,
    class: String,
    day: NaiveDate,
}

/// The category and rate of a supply of `class` on `day`.
///
/// # Errors
/// When the country that taxes it has no rate for the class on that day.
pub(crate) fn tax_of(
    parties: &Parties,
    class: &str,
    day: NaiveDate,
    rates: &[DatedRate],
) -> Result<(Category, Rate), NoRate> {
    if parties.seller_exempt || class == EXEMPT_CLASS {
        return Ok((Category::Exempt, Rate::ZERO));
    }
    let domestic = parties.seller == parties.buyer;
    let within_union = parties.seller.in_eu() && parties.buyer.in_eu();
    if !domestic && !within_union {
        // Art. 44 and 59: the supply takes place where the customer is, outside the Union.
        return Ok((Category::Export, Rate::ZERO));
    }
    if !domestic && parties.buyer_has_foreign_vat_id {
        return Ok((Category::ReverseCharge, Rate::ZERO));
    }
    // At home, or to a consumer elsewhere in the Union: taxed where the buyer is (art. 58, one-stop shop).
    let applies = |rate: &&DatedRate| {
        rate.country == parties.buyer
            && rate.class == class
            && rate.from <= day
            && rate.until.is_none_or(|until| day < until)
    };
    let rate = rates
        .iter()
        .filter(applies)
        .max_by_key(|rate| rate.from)
        .map(|rate| rate.rate);
    let rate = rate.ok_or_else(|| NoRate {
        country: parties.buyer.clone(),
        class: class.to_owned(),
        day,
    })?;
    let category = if rate == Rate::ZERO {
        Category::Zero
    } else {
        Category::Standard
    };
    Ok((category, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn rates() -> Vec<DatedRate> {
        let rate =
            |country: &str, class: &str, rate: &str, from: &str, until: Option<&str>| DatedRate {
                country: country.parse().unwrap(),
                class: class.to_owned(),
                rate: rate.parse().unwrap(),
                from: day(from),
                until: until.map(day),
            };
        vec![
            rate("DE", "standard", "19", "2007-01-01", Some("2020-07-01")),
            rate("DE", "standard", "16", "2020-07-01", Some("2021-01-01")),
            rate("DE", "standard", "19", "2021-01-01", None),
            rate("DE", "reduced", "7", "2007-01-01", None),
            rate("FR", "standard", "20", "2014-01-01", None),
        ]
    }

    fn parties(seller: &str, buyer: &str, foreign_vat_id: bool) -> Parties {
        Parties {
            seller: seller.parse().unwrap(),
            seller_exempt: false,
            buyer: buyer.parse().unwrap(),
            buyer_has_foreign_vat_id: foreign_vat_id,
        }
    }

    fn tax(parties: &Parties, class: &str) -> (Category, String) {
        let (category, rate) = tax_of(parties, class, day("2026-11-22"), &rates()).unwrap();
        (category, rate.to_string())
    }

    #[test]
    fn the_country_of_the_buyer_and_its_vat_id_decide() {
        assert_eq!(
            tax(&parties("DE", "DE", false), "standard"),
            (Category::Standard, "19".into())
        );
        assert_eq!(
            tax(&parties("DE", "DE", true), "standard"),
            (Category::Standard, "19".into())
        );
        assert_eq!(
            tax(&parties("DE", "FR", true), "standard"),
            (Category::ReverseCharge, "0".into())
        );
        assert_eq!(
            tax(&parties("DE", "FR", false), "standard"),
            (Category::Standard, "20".into())
        );
        assert_eq!(
            tax(&parties("DE", "CH", true), "standard"),
            (Category::Export, "0".into())
        );
        assert_eq!(
            tax(&parties("DE", "US", false), "standard"),
            (Category::Export, "0".into())
        );
    }

    #[test]
    fn classes_and_small_businesses_are_taxed_their_way() {
        assert_eq!(
            tax(&parties("DE", "DE", false), "reduced"),
            (Category::Standard, "7".into())
        );
        assert_eq!(
            tax(&parties("DE", "DE", false), "exempt"),
            (Category::Exempt, "0".into())
        );
        let small = Parties {
            seller_exempt: true,
            ..parties("DE", "DE", false)
        };
        assert_eq!(tax(&small, "standard"), (Category::Exempt, "0".into()));
    }

    #[test]
    fn the_rate_of_the_day_applies() {
        let home = parties("DE", "DE", false);
        let rate = |on: &str| {
            tax_of(&home, "standard", day(on), &rates())
                .unwrap()
                .1
                .to_string()
        };
        assert_eq!(rate("2020-06-30"), "19");
        assert_eq!(rate("2020-07-01"), "16");
        assert_eq!(rate("2020-12-31"), "16");
        assert_eq!(rate("2021-01-01"), "19");
    }

    #[test]
    fn a_missing_rate_is_an_error_and_not_zero() {
        let error = tax_of(
            &parties("DE", "IT", false),
            "standard",
            day("2026-11-22"),
            &rates(),
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("standard in IT on 2026-11-22")
        );
    }
}
