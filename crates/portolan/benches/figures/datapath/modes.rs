//! The service proxy in every mode, serving on the node.

use anyhow::Context as _;
use model::Index;
use proxy::NodeContext;

use super::objects::NODE;
use crate::rig::{Opened, Variant};

/// A proxy that has written its rules, and may have to live for what they lead to.
pub struct Serving {
    _opened: Opened,
}

impl Serving {
    /// Opens the mode in the calling thread's namespace and brings its kernel in line with the index.
    pub fn start(variant: Variant, index: &mut Index) -> anyhow::Result<Self> {
        let context = NodeContext::new(NODE.into(), vec!["10.244.0.0/16".parse()?]);
        let mut opened = Opened::new(variant, context)?;
        let changes = index.take_changes();
        let snapshot = index.snapshot().context("everything is listed")?;
        opened.dataplane.sync(&snapshot, &changes)?;
        Ok(Self { _opened: opened })
    }
}
