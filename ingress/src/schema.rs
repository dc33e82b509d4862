//! JSON Schemas of what the API shows.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sea_orm::{ActiveEnum, Iterable};

/// One of the states of something, by its name.
pub(crate) struct States<E>(PhantomData<E>);

impl<E: ActiveEnum<Value = String> + Iterable> JsonSchema for States<E> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "State".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = E::iter().map(|state| state.to_value()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// A decimal number as text: `0.19`.
pub(crate) struct Decimal;

impl JsonSchema for Decimal {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$" })
    }
}
