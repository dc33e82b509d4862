//! Reads the fields of a JSON body or of a query string and collects everything that is wrong with
//! them, so that the caller mends it all at once. serde stops at the first error, and does not name
//! it well.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use schemas::problem::FieldError;
use schemas::ticket::{Attachments, MOST_ATTACHMENTS};
use schemas::values::InvalidValue;
use sea_orm::{ActiveEnum, Iterable};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::ApiError;

/// How many items a list in a body may have.
const MOST_ITEMS: usize = 100;

/// The fields that are not read yet, and what was wrong with those that are.
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// The names that were asked for: those that there are.
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The fields of a JSON object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self::of(map, Vec::new())),
            Ok(_) => Err(ApiError::invalid(vec![FieldError::new(
                "body",
                "must be a JSON object",
            )])),
            Err(error) => Err(ApiError::malformed(format!(
                "The body is not JSON: {error}."
            ))),
        }
    }

    /// The parameters of a query string.
    pub(crate) fn of_query(query: &str) -> Self {
        let (mut map, mut errors) = (Map::new(), Vec::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if map.insert(name.to_string(), value.into()).is_some() {
                errors.push(FieldError::new(shown(&name), "must be given once"));
            }
        }
        Self::of(map, errors)
    }

    fn of(map: Map<String, Value>, errors: Vec<FieldError>) -> Self {
        Self {
            map,
            known: Vec::new(),
            errors,
        }
    }

    /// The value of a field. Nothing if it is missing.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.map.remove(name)
    }

    /// A text that must be there.
    pub(crate) fn required<T: FromStr<Err = InvalidValue>>(
        &mut self,
        name: &'static str,
    ) -> Option<T> {
        let value = self.optional(name);
        if value.is_none() && !self.errors.iter().any(|error| error.field == name) {
            self.wrong(name, "is required");
        }
        value
    }

    /// A text that may be missing or null.
    pub(crate) fn optional<T: FromStr<Err = InvalidValue>>(
        &mut self,
        name: &'static str,
    ) -> Option<T> {
        match self.take(name)? {
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
    pub(crate) fn integer(
        &mut self,
        name: &'static str,
        (from, to): (u32, u32),
        default: u32,
    ) -> Option<u32> {
        let value = match self.take(name) {
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

    /// One of the states of something.
    pub(crate) fn one_of<E>(&mut self, name: &'static str) -> Option<E>
    where
        E: ActiveEnum<Value = String> + Iterable,
    {
        let value = self.take(name)?;
        let known = value.as_str().map(str::to_owned);
        let known = known.and_then(|text| E::try_from_value(&text).ok());
        if known.is_none() {
            let names: Vec<_> = E::iter().map(|state| state.to_value()).collect();
            self.wrong(name, format!("must be one of {}", names.join(", ")));
        }
        known
    }

    /// One of the states of something, which must be there.
    pub(crate) fn required_one_of<E>(&mut self, name: &'static str) -> Option<E>
    where
        E: ActiveEnum<Value = String> + Iterable,
    {
        if !self.map.contains_key(name) {
            self.known.push(name);
            self.wrong(name, "is required");
            return None;
        }
        self.one_of(name)
    }

    /// A text that may be missing or null.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let text: String = self.parsed(name, "must be a string")?;
        if text.contains('\0') {
            self.wrong(name, "must not contain control characters");
            return None;
        }
        Some(text)
    }

    /// An id that may be missing or null.
    pub(crate) fn id(&mut self, name: &'static str) -> Option<Uuid> {
        self.parsed(name, "must be an id")
    }

    /// Files that may be missing or null.
    pub(crate) fn attachments(&mut self, name: &'static str) -> Attachments {
        let value = self.take(name).filter(|value| !value.is_null());
        let ids = value.map_or(Ok(Attachments::default()), serde_json::from_value);
        ids.unwrap_or_else(|_| {
            let reason = format!("must be a list of at most {MOST_ATTACHMENTS} ids, each once");
            self.wrong(name, reason);
            Attachments::default()
        })
    }

    /// A day that may be missing or null.
    pub(crate) fn day(&mut self, name: &'static str) -> Option<NaiveDate> {
        self.parsed(name, "must be a day such as 2026-12-31")
    }

    /// A day that must be there.
    pub(crate) fn required_day(&mut self, name: &'static str) -> Option<NaiveDate> {
        let day = self.day(name);
        if day.is_none() && !self.errors.iter().any(|error| error.field == name) {
            self.wrong(name, "is required");
        }
        day
    }

    fn parsed<T: FromStr>(&mut self, name: &'static str, reason: &str) -> Option<T> {
        let value = self.take(name).filter(|value| !value.is_null())?;
        let parsed = value.as_str().and_then(|text| text.parse().ok());
        if parsed.is_none() {
            self.wrong(name, reason);
        }
        parsed
    }

    /// A list of texts that must be there.
    pub(crate) fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        match self.take(name) {
            None | Some(Value::Null) => {
                self.wrong(name, "is required");
                None
            }
            Some(value) => self.list(name, value),
        }
    }

    /// A list of texts that may be missing or null.
    pub(crate) fn optional_texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        match self.take(name) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(value) => self.list(name, value),
        }
    }

    fn list(&mut self, name: &'static str, value: Value) -> Option<Vec<String>> {
        let texts = serde_json::from_value::<Vec<String>>(value).ok();
        let texts = texts.filter(|texts| texts.len() <= MOST_ITEMS);
        if texts.is_none() {
            let reason = format!("must be a list of at most {MOST_ITEMS} strings");
            self.wrong(name, reason);
        }
        texts
    }

    /// An instant that may be missing or null: nothing inside.
    pub(crate) fn instant(&mut self, name: &'static str) -> Option<Option<DateTime<Utc>>> {
        let value = match self.take(name) {
            None | Some(Value::Null) => return Some(None),
            Some(value) => value,
        };
        let instant = value.as_str().map(DateTime::parse_from_rfc3339);
        match instant {
            Some(Ok(instant)) => Some(Some(instant.to_utc())),
            _ => {
                self.wrong(
                    name,
                    "must be an instant such as 2026-12-31T23:59:59Z (RFC 3339)",
                );
                None
            }
        }
    }

    /// What a merge patch (RFC 7396) does to a text that must stay there: nothing if it is missing.
    pub(crate) fn changed<T: FromStr<Err = InvalidValue>>(
        &mut self,
        name: &'static str,
    ) -> Option<T> {
        if self.map.get(name) == Some(&Value::Null) {
            self.take(name);
            self.wrong(name, "cannot be removed");
            return None;
        }
        self.optional(name)
    }

    /// What a merge patch (RFC 7396) does to a text that may be removed: nothing if it is missing,
    /// nothing inside if it is removed.
    pub(crate) fn changed_or_removed<T: FromStr<Err = InvalidValue>>(
        &mut self,
        name: &'static str,
    ) -> Option<Option<T>> {
        if self.map.get(name) == Some(&Value::Null) {
            self.take(name);
            return Some(None);
        }
        self.optional(name).map(Some)
    }

    /// What was read, if nothing was wrong and nothing is left over.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<T, ApiError> {
        for name in self.map.keys() {
            let close = self.known.iter().find(|known| alike(known, name));
            let hint = match close {
                Some(known) => format!("is not known; did you mean {known}?"),
                None if self.known.is_empty() => "is not known".to_owned(),
                None => format!("is not known; the fields are {}", self.known.join(", ")),
            };
            self.errors.push(FieldError::new(shown(name), hint));
        }
        match read {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(ApiError::invalid(self.errors)),
        }
    }

    /// Refuses a field that the caller may not set.
    pub(crate) fn refuse(&mut self, name: &str, reason: &str) {
        if self.map.remove(name).is_some() {
            self.wrong(name, reason);
        }
    }

    /// Whether anything was wrong so far.
    pub(crate) fn is_wrong(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Notes what is wrong with a field.
    pub(crate) fn wrong(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(FieldError::new(name, reason));
    }
}

/// A name of the caller's as it is shown: shortened, since it can be as long as the body.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
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
        let quantity = fields.integer("quantity", (1, 100), 1);
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
        let error = fields.finish(None::<()>).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("did you mean name?"), "{text}");
        let fields = "the fields are offering, plan, region, quantity, name";
        assert!(text.contains(fields), "{text}");
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
