//! The kinds that are served at a time.

mod kind;
mod list;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

pub(super) use kind::Behaviour;
pub use kind::Kind;
use kind::Word;
use list::KINDS;

/// Where the scale subresource reads and writes, as JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// Wanted number of replicas.
    pub spec_replicas: Cow<'static, str>,
    /// Present number of replicas.
    pub status_replicas: Cow<'static, str>,
    /// The label selector (a meta/v1 LabelSelector).
    pub selector: Cow<'static, str>,
}

/// One group and version a kind is served under.
#[derive(Debug, Clone)]
pub struct Served {
    /// API group, empty for the core group.
    pub group: Cow<'static, str>,
    /// `v1`, `v1beta1`, …
    pub version: Cow<'static, str>,
    /// This is the version that is stored; short names and categories are listed only there.
    pub stored: bool,
    /// The kind.
    pub kind: Arc<Kind>,
}

impl Served {
    /// `v1`, `apps/v1`: the apiVersion that objects have here.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

/// The kinds that are served at a time: a value, replaced whole when a kind comes, changes or goes.
#[derive(Debug)]
pub struct Registry {
    served: Vec<Served>,
    /// Places in `served` by group, version and plural.
    places: BTreeMap<Word, BTreeMap<Word, BTreeMap<Word, usize>>>,
}

static BUILT_IN: LazyLock<Arc<Registry>> = LazyLock::new(|| Arc::new(Registry::new(stored_built_in())));

fn stored_built_in() -> Vec<Served> {
    let kinds: Vec<Arc<Kind>> = KINDS.iter().map(|kind| Arc::new(Kind::from(kind))).collect();
    let stored = kinds.iter().map(|kind| Served {
        group: kind.group.clone(),
        version: kind.version.clone(),
        stored: true,
        kind: Arc::clone(kind),
    });
    let others = kinds.iter().flat_map(|kind| {
        kind.also.iter().map(|(group, version)| Served {
            group: group.clone(),
            version: version.clone(),
            stored: false,
            kind: Arc::clone(kind),
        })
    });
    stored.chain(others).collect()
}

impl Registry {
    /// The kinds that the server brings along.
    pub fn built_in() -> &'static Arc<Self> {
        &BUILT_IN
    }

    /// The kinds that the server brings along and these.
    pub fn with(custom: impl IntoIterator<Item = Served>) -> Self {
        Self::new(BUILT_IN.served.iter().cloned().chain(custom).collect())
    }

    fn new(served: Vec<Served>) -> Self {
        let mut places: BTreeMap<Word, BTreeMap<Word, BTreeMap<Word, usize>>> = BTreeMap::new();
        for (place, one) in served.iter().enumerate() {
            let versions = places.entry(one.group.clone()).or_default();
            let plurals = versions.entry(one.version.clone()).or_default();
            plurals.insert(one.kind.plural.clone(), place);
        }
        Self { served, places }
    }

    /// Every group, version and kind that is served, in the order in which discovery lists them, stored versions first.
    pub fn served(&self) -> impl Iterator<Item = &Served> {
        self.served.iter()
    }

    /// What is served under one group and version, in the order in which discovery lists it.
    pub fn served_in<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Served> {
        self.served.iter().filter(move |served| served.group == group && served.version == version)
    }

    /// What a path's group, version and plural name.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Served> {
        let place = self.places.get(group)?.get(version)?.get(plural)?;
        self.served.get(*place)
    }

    /// The kind of that group and name, in its stored version if that is served.
    pub fn kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        let mut all = self.served.iter().filter(|served| served.kind.is(group, kind));
        let first = all.clone().next();
        all.find(|served| served.stored).or(first).map(|served| &served.kind)
    }
}

/// `v1`, `apps/v1`.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
