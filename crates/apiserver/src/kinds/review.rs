//! The reviews of authentication.k8s.io and authorization.k8s.io: questions, answered and never stored.

use jiff::Timestamp;
use serde_json::Value;

use super::strategy::Rules;
use super::table::{self, Column};

/// The API group of questions about who somebody is.
pub(crate) const AUTHENTICATION: &str = "authentication.k8s.io";
/// The API group of questions about what somebody may do.
pub(crate) const AUTHORIZATION: &str = "authorization.k8s.io";

pub(super) const COLUMNS: &[Column] = &[Column::NAME];

pub(super) fn row(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![table::name(object)]
}

/// The rules of reviews: none, as they are not stored.
pub(super) struct Review;

impl Rules for Review {}
