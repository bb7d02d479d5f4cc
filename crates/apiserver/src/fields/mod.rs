//! Who owns which field of an object: server-side apply and `metadata.managedFields` (KEP-555).
//!
//! In: an object before and after a write, the schema ([`crate::kinds::Node`]), the entries kept so far. Out: the entries
//! to keep; for an apply also the merged object, or the conflicts. Everything here is pure.
//!
//! ```text
//! compare(old, new) ─► Comparison { changed, removed } ─► owners lose and gain ─► managedFields
//! apply: merge(live, config) ─► prune what the applier applied before and nobody owns ─► compare ─► conflicts?
//! ```
//!
//! The behaviour is that of `sigs.k8s.io/structured-merge-diff` and of the managers around it in
//! `apimachinery/pkg/util/managedfields`. All versions of a kind have the same fields here, so that sets of different
//! versions compare as they are.

mod apply;
mod codec;
mod compare;
mod conflict;
mod field_set;
mod items;
mod merge;
mod owner;
mod path;
mod remove;
mod set;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use apply::{ApplyError, Configuration, apply};
pub(crate) use conflict::conflict_message;
pub(crate) use owner::{Author, same_but_times};
pub(crate) use update::{on_create, on_update, sent_or_kept};
