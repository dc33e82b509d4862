//! Countries and VAT identification numbers.

use serde::{Deserialize, Serialize};

use super::{InvalidValue, text_value};

/// An ISO 3166-1 alpha-2 country code in upper case: `DE`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CountryCode(String);
text_value!(CountryCode);

/// The member states of the European Union, whose VAT rules apply between each other
/// (Directive 2006/112/EC art. 5).
const EU: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT",
    "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];

impl CountryCode {
    fn check(text: &str) -> Result<String, InvalidValue> {
        rust_iso3166::from_alpha2(text)
            .map(|country| country.alpha2.to_owned())
            .ok_or_else(|| {
                InvalidValue::new("must be an ISO 3166-1 alpha-2 country code such as DE")
            })
    }

    /// Whether the country is a member state of the European Union.
    pub fn in_eu(&self) -> bool {
        EU.contains(&self.as_str())
    }

    /// The short English name, for addresses.
    pub fn english_name(&self) -> &'static str {
        rust_iso3166::from_alpha2(&self.0).map_or("", |country| country.name)
    }
}

/// A VAT identification number with its country prefix, without blanks: `DE123456789`. The form is
/// checked, not the registration (Directive 2006/112/EC art. 215; Greece uses `EL`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VatId(String);
text_value!(VatId);

impl VatId {
    fn check(text: &str) -> Result<String, InvalidValue> {
        let compact: String = text.chars().filter(|c| !" .-".contains(*c)).collect();
        let upper = compact.to_ascii_uppercase();
        let rest = upper.get(2..).unwrap_or_default();
        let well_formed = upper
            .get(..2)
            .is_some_and(|p| p.bytes().all(|b| b.is_ascii_uppercase()))
            && (2..=13).contains(&rest.len())
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'*')
            && rest.bytes().any(|b| b.is_ascii_digit());
        if !well_formed {
            return Err(InvalidValue::new(
                "must be a VAT identification number with country prefix such as DE123456789",
            ));
        }
        Ok(upper)
    }

    /// The country that gave the number, or nothing for a prefix that is no country (`XI`, `EU`).
    pub fn country(&self) -> Option<CountryCode> {
        match self.0.get(..2)? {
            "EL" => "GR".parse().ok(),
            prefix => prefix.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_known_codes() {
        let germany: CountryCode = "DE".parse().unwrap();
        assert!(germany.in_eu());
        assert_eq!(germany.english_name(), "Germany");
        assert!(!"CH".parse::<CountryCode>().unwrap().in_eu());
        for bad in ["", "de", "XX", "DEU"] {
            assert!(bad.parse::<CountryCode>().is_err(), "{bad:?}");
        }
        assert!(EU.iter().all(|code| code.parse::<CountryCode>().is_ok()));
    }

    #[test]
    fn vat_ids_carry_their_country() {
        let id: VatId = "de 123 456 789".parse().unwrap();
        assert_eq!(id.as_str(), "DE123456789");
        assert_eq!(id.country(), "DE".parse().ok());
        assert_eq!(
            "EL123456789".parse::<VatId>().unwrap().country(),
            "GR".parse().ok()
        );
        for bad in [
            "",
            "DE",
            "123456789",
            "DEABCDEFG",
            "DE12345678901234",
            "DÉ123",
        ] {
            assert!(bad.parse::<VatId>().is_err(), "{bad:?}");
        }
    }
}
