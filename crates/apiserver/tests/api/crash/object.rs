//! The objects that are written: each says in three places which step of its writer it is, so that half of one would show.

use bytes::Bytes;
use serde_json::{Value, json};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    ConfigMaps,
    Services,
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub resource: Resource,
    pub name: String,
}

/// An object as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub step: u64,
    pub revision: u64,
}

impl Resource {
    pub fn path(self) -> &'static str {
        match self {
            Self::ConfigMaps => "/api/v1/namespaces/default/configmaps",
            Self::Services => "/api/v1/namespaces/default/services",
        }
    }

    /// The object of a step; a Service with a node port when `exposed`.
    pub fn object(self, name: &str, step: u64, exposed: bool) -> Value {
        let metadata = json!({"name": name, "annotations": annotations(step)});
        match self {
            Self::ConfigMaps => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}),
            Self::Services => {
                let kind = if exposed { "NodePort" } else { "ClusterIP" };
                let spec = json!({"type": kind, "ports": [{"port": 80}]});
                json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
            }
        }
    }

    /// The same in protobuf.
    pub fn protobuf(self, name: &str, step: u64, exposed: bool) -> Bytes {
        let mut metadata = field(1, name.as_bytes());
        for (key, value) in annotations(step).as_object().unwrap() {
            let pair = [field(1, key.as_bytes()), field(2, value.as_str().unwrap().as_bytes())].concat();
            metadata.extend(field(12, &pair));
        }
        let (kind, spec) = match self {
            Self::ConfigMaps => ("ConfigMap", Vec::new()),
            Self::Services => {
                let kind: &[u8] = if exposed { b"NodePort" } else { b"ClusterIP" };
                // ServicePort: 3 is the port, a number.
                ("Service", field(2, &[field(1, &[3 << 3, 80]), field(4, kind)].concat()))
            }
        };
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        let object = [field(1, &metadata), spec].concat();
        [b"k8s\0".to_vec(), field(1, &meta), field(2, &object)].concat().into()
    }
}

/// What says which step an object is.
pub fn annotations(step: u64) -> Value {
    json!({"step": step.to_string(), "again": step.to_string(), "padding": padding(step)})
}

fn padding(step: u64) -> String {
    format!("{step:08x}").repeat((step * 37 % 300) as usize)
}

/// The revision of an object or list.
pub fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

/// Reads an object that a writer has written; `None` for those of others. Panics at half an object.
pub fn read(resource: Resource, object: &Value) -> Option<(Id, Seen)> {
    let annotations = &object["metadata"]["annotations"];
    let text = |field: &str| annotations[field].as_str();
    let step: u64 = text("step")?.parse().unwrap();
    assert_eq!(
        (text("again"), text("padding")),
        (Some(&*step.to_string()), Some(&*padding(step))),
        "half of an object"
    );
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    if resource == Resource::Services {
        assert!(object["spec"]["clusterIP"].is_string(), "{name} has no address");
    }
    Some((Id { resource, name }, Seen { step, revision: revision(object) }))
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}
