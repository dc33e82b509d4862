//! Reads the fields of a JSON body and collects everything that is wrong with them, so that the
//! caller mends it all at once. serde stops at the first error, and does not name it well.

use std::str::FromStr;

use schemas::problem::FieldError;
use schemas::values::InvalidValue;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// The fields of a body that are not read yet, and what was wrong with those that are.
pub(crate) struct Fields {
    map: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The fields of a JSON object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self {
                map,
                errors: Vec::new(),
            }),
            Ok(_) => Err(ApiError::invalid(vec![FieldError::new(
                "body",
                "must be a JSON object",
            )])),
            Err(error) => Err(ApiError::malformed(format!(
                "The body is not JSON: {error}."
            ))),
        }
    }

    /// A text that must be there.
    pub(crate) fn required<T: FromStr<Err = InvalidValue>>(&mut self, name: &str) -> Option<T> {
        let value = self.optional(name);
        if value.is_none() && !self.errors.iter().any(|error| error.field == name) {
            self.wrong(name, "is required");
        }
        value
    }

    /// A text that may be missing or null.
    pub(crate) fn optional<T: FromStr<Err = InvalidValue>>(&mut self, name: &str) -> Option<T> {
        match self.map.remove(name)? {
            Value::Null => None,
            Value::String(text) => text
                .parse()
                .map_err(|InvalidValue(reason)| self.wrong(name, reason))
                .ok(),
            other => {
                self.wrong(name, format!("must be a string, not {}", kind(&other)));
                None
            }
        }
    }

    /// A whole number in a range, or `default` if it is missing or null.
    pub(crate) fn integer(&mut self, name: &str, from: u32, to: u32, default: u32) -> Option<u32> {
        let value = match self.map.remove(name) {
            None | Some(Value::Null) => return Some(default),
            Some(value) => value,
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (from..=to).contains(number)) {
            Some(number) => Some(number),
            None => {
                self.wrong(name, format!("must be a whole number from {from} to {to}"));
                None
            }
        }
    }

    /// What was read, if nothing was wrong and nothing is left over.
    pub(crate) fn finish<T>(mut self, read: Option<T>, known: &[&str]) -> Result<T, ApiError> {
        for name in self.map.keys() {
            let close = known.iter().find(|known| alike(known, name));
            let hint = match close {
                Some(known) => format!("is not known; did you mean {known}?"),
                None => format!("is not known; the fields are {}", known.join(", ")),
            };
            // A name of the caller's is shown shortened: it can be as long as the body.
            self.errors.push(FieldError::new(
                name.chars().take(64).collect::<String>(),
                hint,
            ));
        }
        match read {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(ApiError::invalid(self.errors)),
        }
    }

    fn wrong(&mut self, name: &str, reason: impl Into<String>) {
        self.errors.push(FieldError::new(name, reason));
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Whether one name may be a slip for the other: the same but for case, separators and one slip of
/// the finger.
fn alike(known: &str, given: &str) -> bool {
    let plain = |text: &str| -> String {
        let letters = text.chars().filter(|c| c.is_alphanumeric()).take(64);
        letters.flat_map(char::to_lowercase).collect()
    };
    strsim::osa_distance(&plain(known), &plain(given)) <= 1
}

#[cfg(test)]
mod tests {
    use schemas::values::Code;

    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let mut fields = Fields::parse(
            br#"{"offering": 1, "region": "X!", "quantity": 1.5, "nmae": "a", "foo": 2}"#,
        )
        .unwrap();
        let offering: Option<Code> = fields.required("offering");
        let plan: Option<Code> = fields.required("plan");
        let region: Option<Code> = fields.required("region");
        let quantity = fields.integer("quantity", 1, 100, 1);
        let name: Option<Code> = fields.required("name");
        assert_eq!(
            (offering, plan, region, quantity, name),
            (None, None, None, None, None)
        );
        let named: Vec<_> = fields
            .errors
            .iter()
            .map(|error| error.field.as_str())
            .collect();
        assert_eq!(named, ["offering", "plan", "region", "quantity", "name"]);
        let error = fields.finish(None::<()>, &["name", "plan"]).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("did you mean name?"), "{text}");
        assert!(text.contains("the fields are name, plan"), "{text}");
    }

    #[test]
    fn slips_are_recognised() {
        for (known, given, expected) in [
            ("external_ref", "externalRef", true),
            ("plan", "plann", true),
            ("plan", "pln", true),
            ("plan", "plen", true),
            ("name", "nmae", true),
            ("plan", "region", false),
        ] {
            assert_eq!(alike(known, given), expected, "{known} {given}");
        }
    }
}
