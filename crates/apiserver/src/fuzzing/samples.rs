//! Objects that everything is tried on: one of every kind, and a custom resource with a schema of every sort.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::{Allocation, AllocationConfig, Context, Registry, Served, served_kinds};

const OBJECTS: &str = include_str!("objects.yaml");

/// A kind, and an object of it as a client sends it.
pub(crate) struct Sample {
    pub(crate) served: Served,
    pub(crate) object: Value,
}

/// What a run works on.
pub(crate) struct World {
    pub(crate) registry: Registry,
    /// In the order of the registry.
    pub(crate) samples: Vec<Sample>,
    allocation: Allocation,
}

/// The same for every run: nothing that is tried changes it.
pub(crate) static WORLD: LazyLock<World> = LazyLock::new(World::new);

impl World {
    fn new() -> Self {
        let documents = OBJECTS.split("\n---\n").map(|text| {
            // The file is ours, and a test reads it.
            serde_saphyr::from_str(text).expect("objects.yaml is YAML")
        });
        let documents: Vec<Value> = documents.collect();
        let custom = documents.iter().filter(|object| object["kind"] == "CustomResourceDefinition");
        let registry = Registry::with(custom.flat_map(|definition| served_kinds(definition, true)));
        let samples = registry
            .served()
            .map(|served| Sample { object: sample(served, &documents), served: served.clone() });
        // A range that is in nobody's way, as every configuration has one.
        let allocation = Allocation::new(AllocationConfig {
            service_ranges: vec![
                ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 96, 0, 0), 16).into(),
            ],
            reserved: Vec::new(),
            node_ports: 30000..=32767,
        });
        Self { samples: samples.collect(), registry, allocation: allocation.expect("one range of IPv4") }
    }

    /// The sample that a byte chooses.
    pub(crate) fn choose(&self, byte: u8) -> &Sample {
        // There is a kind: the number is not 0.
        &self.samples[usize::from(byte) % self.samples.len()]
    }

    /// The world of the writes; nothing is committed.
    pub(crate) fn context(&self) -> Context<'_> {
        Context { now: Timestamp::UNIX_EPOCH, allocation: &self.allocation, dry_run: true }
    }
}

fn sample(served: &Served, documents: &[Value]) -> Value {
    let version = served.api_version();
    let known = documents
        .iter()
        .find(|object| object["kind"] == *served.kind.kind && object["apiVersion"] == *version);
    known.cloned().unwrap_or_else(|| {
        let mut metadata = json!({"name": "web"});
        if served.kind.namespaced {
            metadata["namespace"] = "default".into();
        }
        json!({"apiVersion": version, "kind": served.kind.kind, "metadata": metadata})
    })
}
