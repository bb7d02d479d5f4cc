//! API objects as they come over the wire, cut down to the fields we read.
//!
//! The types of k8s-openapi keep every field; 50,000 EndpointSlices of 10 endpoints take 668 MB in them
//! and 188 MB in these. Optional fields may be missing or null, and numbers are wide: what an object says
//! is judged by `parse`, field by field, and not by the decoder, which could only refuse it whole and with
//! it the list it came in.

mod endpoint_slice;
mod namespace;
mod node;
mod pod;
mod service;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use model::{Kind, Object, ObjectKey, ParseError, Parsed, Problem};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

pub(crate) use endpoint_slice::EndpointSlice;
pub(crate) use namespace::Namespace;
pub(crate) use node::Node;
pub(crate) use pod::Pod;
pub(crate) use service::Service;

use crate::watch::Aside;

/// When that happened which an EndpointSlice was changed for (an annotation of whoever writes slices).
const CHANGED_AT: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// An object of the API that becomes one of the model.
pub(crate) trait Wire:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// The kind it becomes.
    const KIND: Kind;

    /// What the object is known by; `None` for one without a name, which no server sends.
    fn object_key(&self) -> Option<ObjectKey>;

    /// Reads the object. `None` when nothing in it concerns us.
    fn parse(&self) -> Parsed<Option<Object>>;

    /// What it says beside that.
    fn aside(&self) -> Option<Aside> {
        None
    }
}

/// An object of the API that names come from.
pub(crate) trait Named:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// The kind it becomes.
    const KIND: dns::Kind;

    /// What the object is known by; `None` for one without a name.
    fn named_key(&self) -> Option<dns::ObjectKey>;

    /// Reads the object. `None` when no name comes from it.
    fn named(&self) -> Parsed<Option<dns::Object>>;
}

/// Reads one object of the API from JSON, as the watches do: an object of a proxied cluster from a file, a test or a
/// fuzzer.
///
/// # Errors
/// When it is no JSON, or a field has another type than the API gives it. What is merely impossible, such as port 0, is
/// skipped and told beside the value.
pub fn read_object(kind: Kind, json: &[u8]) -> Result<Parsed<Option<Object>>, serde_json::Error> {
    Ok(match kind {
        Kind::Service => serde_json::from_slice::<Service>(json)?.parse(),
        Kind::EndpointSlice => serde_json::from_slice::<EndpointSlice>(json)?.parse(),
        Kind::Node => serde_json::from_slice::<Node>(json)?.parse(),
    })
}

/// Gathers what had to be skipped.
#[derive(Debug, Default)]
struct Skipped(Vec<ParseError>);

impl Skipped {
    /// The value, or `None` and a note about the field.
    fn ok<T>(&mut self, field: impl FnOnce() -> String, result: Result<T, Problem>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.0.push(ParseError { field: field(), problem });
                None
            }
        }
    }

    fn finish<T>(self, value: T) -> Parsed<T> {
        Parsed { value, errors: self.0 }
    }
}

/// The metadata we read, in kube's type. Managed fields and annotations are often larger than the rest of
/// the object and are left out.
fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        uid: Option<String>,
        deletion_timestamp: Option<IgnoredAny>,
        annotations: Option<Annotations>,
    }
    /// All that are read; the others never become texts of ours.
    #[derive(Deserialize)]
    struct Annotations {
        #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
        changed_at: Option<String>,
    }
    let slim = Slim::deserialize(deserializer)?;
    let changed_at = slim.annotations.and_then(|annotations| annotations.changed_at);
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        resource_version: slim.resource_version,
        labels: slim.labels,
        uid: slim.uid,
        // Whether it is there is all that is asked, so a time in a form that we do not know is no reason to refuse.
        deletion_timestamp: slim.deletion_timestamp.map(|_| Time(Timestamp::UNIX_EPOCH)),
        annotations: changed_at.map(|at| [(CHANGED_AT.to_owned(), at)].into()),
        ..ObjectMeta::default()
    })
}

/// Reads a field whose null means the same as its absence.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// Whether it can be the address of an endpoint or of a door: what means every machine to itself cannot, nor can a group
/// (the API's `ValidateEndpointIP` and `ValidateNonSpecialIP`).
fn is_reachable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

/// `kube::Resource` for a type with a `metadata` field, which all types here have.
macro_rules! resource {
    ($type:ty, $scope:ty, $group:literal, $kind:literal, $plural:literal) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
use resource;

#[cfg(test)]
mod tests;
