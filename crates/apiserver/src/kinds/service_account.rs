//! ServiceAccount.

use jiff::Timestamp;
use serde_json::Value;

use super::field::list;
use super::strategy::Rules;
use super::table::{self, Column};

pub(super) const COLUMNS: &[Column] = &[Column::NAME, Column::number("Secrets"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![table::name(object), list(object, "secrets").len().into(), table::age(object, now)]
}

/// ServiceAccount's rules: none of its own.
pub(super) struct ServiceAccount;

impl Rules for ServiceAccount {}
