//! From an order to the content of its invoice: charges, periods and tax. Pure functions.

pub(crate) mod content;
pub(crate) mod credit;
pub(crate) mod lines;
pub(crate) mod tax;
pub(crate) mod unbilled;
