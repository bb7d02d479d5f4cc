//! Objects of one name that a controller keeps right whatever others do to them: the Services `kubernetes` and
//! `kube-dns` with their endpoints.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::{Context, Stored};
use crate::error::Error;
use crate::objects::{ObjectKey, is_deleting};
use crate::queue::Queue;
use crate::selector::Labels;
use crate::store::{Change, Store};

/// Namespace and name of the objects that one such controller keeps.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// Their namespace.
    pub(crate) namespace: &'static str,
    /// The name that all of them have, and the controller's only key.
    pub(crate) name: &'static str,
}

impl Kept {
    /// Wakes the controller when one of its objects changes.
    pub(crate) fn wake_on<K: Stored>(self, store: &Store<K>, queue: &Arc<Queue<&'static str>>) {
        let wake = queue.clone();
        store.on_change(move |change: &Change<'_, K>| {
            let is_it = |meta: &ObjectMeta| {
                meta.name.as_deref() == Some(self.name) && meta.namespace.as_deref() == Some(self.namespace)
            };
            if change.sides().any(|object| is_it(object.meta())) {
                wake.add(self.name);
            }
        });
    }

    /// Wakes the controller when its namespace appears or changes.
    pub(crate) fn wake_on_namespace(self, context: &Context, queue: &Arc<Queue<&'static str>>) {
        let wake = queue.clone();
        context.stores.namespaces.on_change(move |change| {
            if change.new.is_some_and(|namespace| namespace.metadata.name.as_deref() == Some(self.namespace))
            {
                wake.add(self.name);
            }
        });
    }

    /// Whether the namespace is there to hold the objects, and is to stay.
    pub(crate) fn has_namespace(self, context: &Context) -> bool {
        let namespace = context.stores.namespaces.find(&ObjectKey::new("", self.namespace));
        namespace.is_some_and(|namespace| !is_deleting(&namespace.metadata))
    }

    /// Makes one object what `right` says it should be, given what it is.
    pub(crate) async fn keep<K: Stored + PartialEq>(
        self,
        context: &Context,
        right: impl Fn(Option<&K>) -> K,
    ) -> Result<(), Error> {
        let found = K::store(&context.stores).find(&ObjectKey::new(self.namespace, self.name));
        let wanted = right(found.as_deref());
        match found {
            Some(found) if *found == wanted => Ok(()),
            Some(_) => context.update(&wanted).await,
            None => context.create(&wanted).await,
        }
    }

    /// The metadata that was found, or new ones, with our own labels.
    pub(crate) fn metadata(self, found: Option<&ObjectMeta>, own: &[(&str, &str)]) -> ObjectMeta {
        let mut meta = found.cloned().unwrap_or_else(|| ObjectMeta {
            name: Some(self.name.to_owned()),
            namespace: Some(self.namespace.to_owned()),
            ..ObjectMeta::default()
        });
        let labels: &mut Labels = meta.labels.get_or_insert_default();
        labels.extend(own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        meta
    }
}
