//! Numbers and dates as the reader writes them, by CLDR.

use anyhow::Context;
use chrono::{Datelike, NaiveDate};
use icu_datetime::DateTimeFormatter;
use icu_datetime::fieldsets::YMD;
use icu_datetime::input::Date;
use icu_decimal::DecimalFormatter;
use icu_decimal::input::Decimal as IcuDecimal;
use icu_decimal::options::{DecimalFormatterOptions, GroupingStrategy};
use icu_locale_core::locale;
use rust_decimal::Decimal;
use schemas::values::{Currency, Locale, Money};

/// The formats of one language.
pub(crate) struct Formats {
    locale: Locale,
    decimals: DecimalFormatter,
    dates: DateTimeFormatter<YMD>,
}

impl Formats {
    /// The formats of a language.
    ///
    /// # Errors
    /// When the built-in data lack it.
    pub(crate) fn new(locale: Locale) -> anyhow::Result<Self> {
        let icu = match locale {
            // Day before month, as most of those read it who are not in the United States.
            Locale::En => locale!("en-GB"),
            Locale::De => locale!("de"),
            Locale::Fr => locale!("fr"),
        };
        let grouping = DecimalFormatterOptions::from(GroupingStrategy::Always);
        Ok(Self {
            locale,
            decimals: DecimalFormatter::try_new((&icu).into(), grouping)
                .context("load number formats")?,
            dates: DateTimeFormatter::try_new(icu.into(), YMD::long())
                .context("load date formats")?,
        })
    }

    /// `22 November 2026`, `22. November 2026`, `22 novembre 2026`.
    pub(crate) fn date(&self, day: NaiveDate) -> String {
        let month = u8::try_from(day.month()).unwrap_or(1);
        match Date::try_new_iso(day.year(), month, u8::try_from(day.day()).unwrap_or(1)) {
            Ok(date) => self.dates.format(&date).to_string(),
            Err(_) => day.to_string(),
        }
    }

    /// A number with its decimal places as they are: `1,234.50`, `1.234,50`, `1 234,50`.
    pub(crate) fn number(&self, number: Decimal) -> String {
        match number.to_string().parse::<IcuDecimal>() {
            Ok(decimal) => self.decimals.format(&decimal).to_string(),
            Err(_) => number.to_string(),
        }
    }

    /// An amount without its currency: `1,234.50`.
    pub(crate) fn amount(&self, money: Money) -> String {
        self.number(money.decimal())
    }

    /// An amount with its currency: `EUR 1,234.50`, `1.234,50 EUR`.
    pub(crate) fn money(&self, money: Money) -> String {
        let amount = self.amount(money);
        match self.locale {
            Locale::En => format!("{}\u{A0}{amount}", money.currency),
            Locale::De | Locale::Fr => format!("{amount}\u{A0}{}", money.currency),
        }
    }

    /// A price for one unit: with the decimal places of the currency, and more only if it has more.
    pub(crate) fn unit_price(&self, price: Decimal, currency: Currency) -> String {
        let mut shown = price.normalize();
        if shown.scale() < currency.exponent() {
            shown.rescale(currency.exponent());
        }
        self.number(shown)
    }

    /// A percentage: `19%`, `19 %`.
    pub(crate) fn percent(&self, rate: Decimal) -> String {
        let number = self.number(rate.normalize());
        match self.locale {
            Locale::En => format!("{number}%"),
            Locale::De | Locale::Fr => format!("{number}\u{A0}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(locale: Locale) -> Formats {
        Formats::new(locale).unwrap()
    }

    #[test]
    fn dates_read_as_in_the_language() {
        let day = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let written: Vec<_> = Locale::ALL.map(|locale| formats(locale).date(day)).to_vec();
        assert_eq!(written, ["1 March 2026", "1. März 2026", "1 mars 2026"]);
    }

    #[test]
    fn amounts_have_the_places_of_their_currency() {
        let money = |minor, code: &str| Money::new(minor, code.parse().unwrap());
        assert_eq!(
            formats(Locale::En).money(money(123_456_789, "EUR")),
            "EUR\u{A0}1,234,567.89"
        );
        assert_eq!(
            formats(Locale::De).money(money(123_456_789, "EUR")),
            "1.234.567,89\u{A0}EUR"
        );
        assert_eq!(
            formats(Locale::Fr).money(money(123_456, "EUR")),
            "1\u{202F}234,56\u{A0}EUR"
        );
        assert_eq!(
            formats(Locale::En).money(money(1_500, "JPY")),
            "JPY\u{A0}1,500"
        );
        assert_eq!(
            formats(Locale::De).money(money(1_500, "KWD")),
            "1,500\u{A0}KWD"
        );
        assert_eq!(
            formats(Locale::De).money(money(-5, "EUR")),
            "-0,05\u{A0}EUR"
        );
    }

    #[test]
    fn unit_prices_show_what_they_have() {
        let price = |text: &str, code: &str| {
            formats(Locale::De).unit_price(text.parse().unwrap(), code.parse().unwrap())
        };
        assert_eq!(price("9.9", "EUR"), "9,90");
        assert_eq!(price("0.00743999", "EUR"), "0,00743999");
        assert_eq!(price("1500", "JPY"), "1.500");
        assert_eq!(
            formats(Locale::Fr).percent("5.50".parse().unwrap()),
            "5,5\u{A0}%"
        );
    }
}
