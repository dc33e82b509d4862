//! Money: integer minor units for amounts, decimals for prices, quantities and rates. No floats.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// An ISO 4217 currency that has minor units (or none, like JPY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Z]{3}$"))]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// The three-letter code: `EUR`.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimal places the currency has: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

impl FromStr for Currency {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        iso_currency::Currency::from_code(text)
            .filter(|currency| currency.exponent().is_some())
            .map(Self)
            .ok_or_else(|| InvalidValue::new("must be an ISO 4217 currency code such as EUR"))
    }
}

impl TryFrom<String> for Currency {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount of money. In JSON `{"minor": 1234, "exponent": 2, "currency": "EUR"}` is 12.34 EUR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "MoneyJson", into = "MoneyJson")]
pub struct Money {
    /// The amount in minor units (cents for EUR, yen for JPY, fils for KWD).
    pub minor: i64,
    /// The currency, which knows how many decimal places `minor` has.
    pub currency: Currency,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct MoneyJson {
    /// The amount in minor units.
    minor: i64,
    /// How many decimal places the currency has.
    exponent: u32,
    currency: Currency,
}

impl Money {
    /// `minor` minor units of `currency`.
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Rounds a decimal amount half up to the currency's minor unit.
    ///
    /// # Errors
    /// When the amount does not fit into 64 bits of minor units.
    pub fn round(amount: Decimal, currency: Currency) -> Result<Self, InvalidValue> {
        let too_large = || InvalidValue::new("is too large an amount of money");
        // Half up, away from zero for negative amounts, so that a credit mirrors its debit.
        let rounded = amount
            .round_dp_with_strategy(currency.exponent(), RoundingStrategy::MidpointAwayFromZero);
        let minor = rounded
            .checked_mul(Decimal::from(10_i64.pow(currency.exponent())))
            .and_then(|minor| i64::try_from(minor.trunc()).ok())
            .ok_or_else(too_large)?;
        Ok(Self { minor, currency })
    }

    /// The amount as a decimal number: `12.34`, with exactly the currency's decimal places.
    pub fn decimal(self) -> Decimal {
        Decimal::new(self.minor, self.currency.exponent())
    }

    /// The sum of amounts in `currency`.
    ///
    /// # Errors
    /// When the sum does not fit, or an amount has another currency.
    pub fn sum(
        amounts: impl IntoIterator<Item = Self>,
        currency: Currency,
    ) -> Result<Self, InvalidValue> {
        amounts
            .into_iter()
            .try_fold(Self::new(0, currency), |sum, next| {
                if next.currency != currency {
                    return Err(InvalidValue::new(format!("must be in {currency}")));
                }
                sum.minor
                    .checked_add(next.minor)
                    .map(|minor| Self::new(minor, currency))
                    .ok_or_else(|| InvalidValue::new("is too large an amount of money"))
            })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

impl TryFrom<MoneyJson> for Money {
    type Error = InvalidValue;

    fn try_from(json: MoneyJson) -> Result<Self, Self::Error> {
        if json.exponent != json.currency.exponent() {
            return Err(InvalidValue::new(format!(
                "must have exponent {} for {}",
                json.currency.exponent(),
                json.currency
            )));
        }
        Ok(Self::new(json.minor, json.currency))
    }
}

impl From<Money> for MoneyJson {
    fn from(money: Money) -> Self {
        Self {
            minor: money.minor,
            exponent: money.currency.exponent(),
            currency: money.currency,
        }
    }
}

/// A price for one unit, net of tax: 0 to 1 000 000 000 000 with at most 8 decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitPrice(Decimal);

/// How much of something an invoice line is for: above 0, at most 1 000 000 000, at most 6 decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity(Decimal);

/// A tax rate in percent: 0 to 100 with at most 4 decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(Decimal);

/// An amount of money in a currency that is known otherwise: not 0, at most 1 000 000 000 000, with at
/// most 4 decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^-?[0-9]+(\.[0-9]{1,4})?$"))]
pub struct Amount(Decimal);

impl Amount {
    fn check(value: Decimal) -> Result<(), &'static str> {
        (!value.is_zero()
            && value.abs() <= Decimal::from(1_000_000_000_000_i64)
            && value.scale() <= 4)
            .then_some(())
            .ok_or("must be a decimal number other than 0 with at most 4 decimal places")
    }

    /// The amount in a currency.
    ///
    /// # Errors
    /// When the currency has not so many decimal places.
    pub fn in_currency(self, currency: Currency) -> Result<Money, InvalidValue> {
        let money = Money::round(self.0, currency)?;
        match money.decimal() == self.0 {
            true => Ok(money),
            false => Err(InvalidValue::new(format!(
                "must be an amount of money in {currency}"
            ))),
        }
    }
}

impl UnitPrice {
    fn check(value: Decimal) -> Result<(), &'static str> {
        (!value.is_sign_negative()
            && value <= Decimal::from(1_000_000_000_000_i64)
            && value.scale() <= 8)
            .then_some(())
            .ok_or("must be a decimal number from 0 to 1000000000000 with at most 8 decimal places")
    }

    /// The net amount of a line: quantity × price, rounded half up to the minor unit.
    ///
    /// # Errors
    /// When the amount does not fit.
    pub fn times(self, quantity: Quantity, currency: Currency) -> Result<Money, InvalidValue> {
        let product = self
            .0
            .checked_mul(quantity.0)
            .ok_or_else(|| InvalidValue::new("is too large an amount of money"))?;
        Money::round(product, currency)
    }
}

impl Quantity {
    fn check(value: Decimal) -> Result<(), &'static str> {
        (value > Decimal::ZERO && value <= Decimal::from(1_000_000_000) && value.scale() <= 6)
            .then_some(())
            .ok_or("must be a decimal number above 0, at most 1000000000, with at most 6 decimal places")
    }
}

impl From<u32> for Quantity {
    fn from(count: u32) -> Self {
        Self(Decimal::from(count.max(1)))
    }
}

impl Rate {
    /// 0 %.
    pub const ZERO: Self = Self(Decimal::ZERO);

    fn check(value: Decimal) -> Result<(), &'static str> {
        (!value.is_sign_negative() && value <= Decimal::ONE_HUNDRED && value.scale() <= 4)
            .then_some(())
            .ok_or("must be a percentage from 0 to 100 with at most 4 decimal places")
    }

    /// The tax on `base`, rounded half up to the minor unit.
    ///
    /// # Errors
    /// When the amount does not fit.
    pub fn of(self, base: Money) -> Result<Money, InvalidValue> {
        Money::round(
            base.decimal() * self.0 / Decimal::ONE_HUNDRED,
            base.currency,
        )
    }
}

/// The conversions that the decimal values share: text and JSON strings, never JSON numbers.
macro_rules! decimal_value {
    ($type:ident) => {
        impl $type {
            /// The value as a decimal number.
            pub fn decimal(self) -> Decimal {
                self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let value = Decimal::from_str_exact(text)
                    .map_err(|_| InvalidValue::new("must be a decimal number in a string"))?;
                Self::check(value).map_err(InvalidValue::new)?;
                Ok(Self(value))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0.to_string()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
decimal_value!(UnitPrice);
decimal_value!(Quantity);
decimal_value!(Rate);
decimal_value!(Amount);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    fn net(price: &str, quantity: &str, code: &str) -> i64 {
        let price: UnitPrice = price.parse().unwrap();
        price
            .times(quantity.parse().unwrap(), currency(code))
            .unwrap()
            .minor
    }

    #[test]
    fn exponents_follow_iso_4217() {
        for (code, exponent) in [("EUR", 2), ("JPY", 0), ("KWD", 3), ("TND", 3), ("CLF", 4)] {
            assert_eq!(currency(code).exponent(), exponent, "{code}");
        }
        for bad in ["", "eur", "EURO", "XXX", "XAU"] {
            assert!(bad.parse::<Currency>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn line_amounts_round_half_up_at_the_minor_unit() {
        assert_eq!(net("0.005", "1", "EUR"), 1);
        assert_eq!(net("0.0049", "1", "EUR"), 0);
        assert_eq!(net("33.335", "3", "EUR"), 10001);
        assert_eq!(net("1499.5", "1", "JPY"), 1500);
        assert_eq!(net("0.0125", "1", "KWD"), 13);
        assert_eq!(net("0.00743999", "720", "EUR"), 536);
    }

    #[test]
    fn tax_is_taken_on_the_sum_of_the_nets() {
        // 3 × 99.99 at 25 %: 74.99 on the sum, 75.00 if each line were taxed alone.
        let base = Money::new(3 * 9999, currency("EUR"));
        assert_eq!("25".parse::<Rate>().unwrap().of(base).unwrap().minor, 7499);
    }

    #[test]
    fn amounts_that_do_not_fit_are_refused() {
        assert!(Money::round(Decimal::MAX, currency("EUR")).is_err());
        let huge = Money::new(i64::MAX, currency("EUR"));
        assert!(Money::sum([huge, Money::new(1, currency("EUR"))], currency("EUR")).is_err());
        assert!(Money::sum([Money::new(1, currency("JPY"))], currency("EUR")).is_err());
    }

    #[test]
    fn json_carries_the_exponent_and_no_floats() {
        let money = Money::new(1234, currency("EUR"));
        let json = serde_json::to_string(&money).unwrap();
        assert_eq!(json, r#"{"minor":1234,"exponent":2,"currency":"EUR"}"#);
        assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        let wrong = r#"{"minor":1234,"exponent":3,"currency":"EUR"}"#;
        assert!(serde_json::from_str::<Money>(wrong).is_err());
        assert!(serde_json::from_str::<UnitPrice>("1.5").is_err());
        assert!(serde_json::from_str::<UnitPrice>("\"1.5\"").is_ok());
        for bad in ["\"NaN\"", "\"1e3\"", "\"-1\"", "\"0.000000001\"", "\"\""] {
            assert!(serde_json::from_str::<UnitPrice>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_never_off_by_more_than_half_a_minor_unit(
            units in 0_i64..1_000_000_000, scale in 0_u32..8, exponent in 0_usize..3,
        ) {
            let code = ["JPY", "EUR", "KWD"][exponent];
            let amount = Decimal::new(units, scale);
            let money = Money::round(amount, currency(code)).unwrap();
            let half = Decimal::new(5, currency(code).exponent() + 1);
            prop_assert!((money.decimal() - amount).abs() <= half);
        }
    }
}
