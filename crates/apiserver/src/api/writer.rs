//! Who writes an object, and what its managedFields say afterwards.

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

use super::meta;
use super::options::WriteOptions;
use super::target::{Part, Target};
use crate::fields::{self, Author};
use crate::kinds::Node;

/// Longest name that a manager gets from its user agent, in bytes.
const LONGEST_NAME: usize = 128;

/// Who writes, through which part of the object.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    manager: String,
    api_version: String,
    subresource: &'static str,
    time: String,
}

/// A write of one request.
pub(super) struct Write<'a> {
    /// What it is about.
    pub(super) target: &'a Target,
    /// Who writes.
    pub(super) writer: Writer,
    /// Nothing is stored.
    pub(super) dry_run: bool,
}

/// Where the entries of managedFields come from.
pub(super) enum Ownership {
    /// The difference that the write makes.
    Difference,
    /// An apply, which knows them already.
    Applied(Option<Value>),
}

impl<'a> Write<'a> {
    /// A write with the options of the request.
    pub(super) fn new(target: &'a Target, headers: &HeaderMap, options: &WriteOptions) -> Self {
        let manager = match options.field_manager.as_str() {
            "" => from_user_agent(headers),
            name => name.to_owned(),
        };
        let writer = Writer {
            manager,
            api_version: target.served.api_version(),
            subresource: match target.part {
                Part::Status => "status",
                Part::Scale => "scale",
                Part::Finalize => "finalize",
                Part::Whole
                | Part::Log
                | Part::Binding
                | Part::Token
                | Part::Eviction
                | Part::Session(_)
                | Part::Proxy => "",
            },
            time: meta::time_text(Timestamp::now()),
        };
        Self { target, writer, dry_run: options.dry_run }
    }

    /// The schema of what is written.
    pub(super) fn root(&self) -> Node<'_> {
        Node::root(&self.target.served.kind)
    }
}

impl Writer {
    /// The server itself, which writes whole objects in their stored version.
    pub(super) fn server(api_version: String, now: Timestamp) -> Self {
        let manager = env!("CARGO_PKG_NAME").to_owned();
        Self { manager, api_version, subresource: "", time: meta::time_text(now) }
    }

    pub(super) fn author(&self) -> Author<'_> {
        Author {
            manager: &self.manager,
            api_version: &self.api_version,
            subresource: self.subresource,
            time: &self.time,
        }
    }

    /// Writes the entries of a new object into it; what is at the JSON pointers `unowned` belongs to nobody.
    pub(super) fn own_created(
        &self,
        root: Node<'_>,
        object: &mut Value,
        unowned: &[&str],
        ownership: Ownership,
    ) {
        let managed = match ownership {
            Ownership::Difference => fields::on_create(root, object, unowned, &self.author()),
            Ownership::Applied(managed) => managed,
        };
        meta::set_managed_fields(object, managed);
    }

    /// The entries of an object that becomes `new`; `sent` came with it.
    pub(super) fn own_updated(
        &self,
        root: Node<'_>,
        (old, new): (&Value, &Value),
        sent: Option<Value>,
        ownership: Ownership,
    ) -> Option<Value> {
        match ownership {
            Ownership::Difference => {
                let before = fields::sent_or_kept(sent, meta::managed_fields(old), self.subresource);
                fields::on_update(root, old, new, before, &self.author())
            }
            Ownership::Applied(managed) => managed,
        }
    }
}

/// The first word of the user agent (`apiserver/pkg/endpoints/handlers/create.go`): `kubectl-create/v1.32.0` is
/// `kubectl-create`.
fn from_user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(http::header::USER_AGENT).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let agent = String::from_utf8_lossy(agent);
    let mut name = String::new();
    let word = agent.split('/').next().unwrap_or_default();
    for letter in word.chars().filter(|letter| !letter.is_control()) {
        if name.len() + letter.len_utf8() > LONGEST_NAME {
            break;
        }
        name.push(letter);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_without_a_name_are_called_by_their_user_agent() {
        let named = |agent: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::USER_AGENT, http::HeaderValue::from_bytes(agent).unwrap());
            from_user_agent(&headers)
        };
        assert_eq!(named(b"kubectl/v1.32.1 (linux/amd64) kubernetes/abc"), "kubectl");
        assert_eq!(named(b"OpenAPI-Generator/32.0.1/python"), "OpenAPI-Generator");
        assert_eq!(named("é".repeat(100).as_bytes()).len(), 128);
        assert_eq!(named(b"a\xffb\tc"), "a\u{fffd}bc");
        assert_eq!(from_user_agent(&HeaderMap::new()), "");
    }
}
