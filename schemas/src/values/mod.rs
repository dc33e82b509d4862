//! Values that are parsed once, at the edge. Inside, the type is the proof.

pub(crate) mod choice;
pub mod country;
pub mod money;
pub mod text;
pub mod time;

pub use country::{CountryCode, VatId};
pub use money::{Amount, Currency, Money, Quantity, Rate, UnitPrice};
pub use text::{Code, EmailAddress, ExternalRef, FileName, Name, ResourceName, Text};
pub use time::{Locale, TimeZone};

/// Why a text is not a valid value. The sentence completes "`field` …": `must be …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

impl InvalidValue {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Implements the conversions of a value that is a checked `String`: from and to text, and serde
/// through the same check. The type supplies `fn check(&str) -> Result<String, InvalidValue>`.
macro_rules! text_value {
    ($type:ident) => {
        impl $type {
            /// The value as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::values::InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::check(text).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::values::InvalidValue;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use text_value;
