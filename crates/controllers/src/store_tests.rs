use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;

use super::*;

fn object(name: &str, id: &str, version: u64) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            namespace: Some("default".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(id.to_owned()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn store() -> Store<ConfigMap> {
    Store::new(vec![IndexBy { keys: |found| vec![found.metadata.uid.clone().unwrap_or_default()] }])
}

fn held(store: &Store<ConfigMap>) -> Vec<(String, String)> {
    let meta = |found: &Arc<ConfigMap>| {
        (found.metadata.name.clone().unwrap(), found.metadata.resource_version.clone().unwrap())
    };
    store.all().iter().map(meta).collect()
}

fn is(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}

#[test]
fn an_answer_is_known_before_the_watch_brings_it_and_tells_once() {
    let store = store();
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    store.on_change(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    store.replace(Vec::new(), "1");
    store.apply_written(object("a", "1", 5));
    assert_eq!(held(&store), is(&[("a", "5")]));
    store.apply_watched(object("a", "1", 5));
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert_eq!(store.indexed(IndexId(0), "1").len(), 1);
}

#[test]
fn an_answer_behind_the_watch_brings_nothing_back() {
    let store = store();
    store.replace(Vec::new(), "1");
    store.apply_watched(object("a", "1", 5));
    store.delete_watched(&object("a", "1", 6));
    store.apply_written(object("a", "1", 5));
    assert_eq!(held(&store), is(&[]));
    assert_eq!(store.count(IndexId(0), "1"), 0);
}

#[test]
fn a_deletion_of_ours_is_not_undone_by_a_late_event() {
    let store = store();
    store.replace(vec![object("a", "1", 3)], "4");
    store.delete_written(&ObjectKey::new("default", "a"), "1");
    store.apply_watched(object("a", "1", 5));
    assert_eq!(held(&store), is(&[]));
    store.delete_watched(&object("a", "1", 6));
    // The next object of that name is another one.
    store.apply_watched(object("a", "2", 7));
    assert_eq!(held(&store), is(&[("a", "7")]));
}

#[test]
fn the_end_of_an_older_object_of_the_same_name_does_not_take_the_newer() {
    let store = store();
    store.replace(vec![object("a", "1", 3)], "3");
    store.apply_written(object("a", "2", 9));
    store.delete_watched(&object("a", "1", 8));
    assert_eq!(held(&store), is(&[("a", "9")]));
}

#[test]
fn a_list_keeps_what_was_written_after_it_and_drops_the_rest() {
    let store = store();
    store.replace(vec![object("a", "1", 3), object("b", "2", 3)], "4");
    store.apply_written(object("c", "3", 9));
    store.replace(vec![object("b", "2", 7)], "8");
    assert_eq!(held(&store), is(&[("b", "7"), ("c", "9")]));
}

#[test]
fn a_server_restored_from_an_older_copy_is_believed() {
    let store = store();
    store.replace(vec![object("a", "1", 30)], "40");
    store.apply_written(object("b", "2", 50));
    store.replace(vec![object("a", "1", 7)], "8");
    assert_eq!(held(&store), is(&[("a", "7")]));
}

/// What happens on the server, in order: an object is written or deleted, by us or by others.
#[derive(Debug, Clone, Copy)]
struct Step {
    name: u8,
    delete: bool,
    ours: bool,
    /// How many watch events arrive before our answer does.
    watched: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..4_u8, any::<bool>(), any::<bool>(), 0..3_usize);
    let step = step.prop_map(|(name, delete, ours, watched)| Step { name, delete, ours, watched });
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// However far the watch is behind or ahead of the answers, the store never loses what an answer told, and in the end
    /// holds exactly what the server does.
    #[test]
    fn any_interleaving_ends_in_the_truth(steps in steps()) {
        let store = store();
        store.replace(Vec::new(), "0");
        let mut server: BTreeMap<u8, ConfigMap> = BTreeMap::new();
        let mut pending = std::collections::VecDeque::new();
        let deliver = |event: (bool, ConfigMap)| match event {
            (true, gone) => store.delete_watched(&gone),
            (false, object) => store.apply_watched(object),
        };
        for (at, step) in steps.iter().enumerate() {
            let version = u64::try_from(at).unwrap() + 1;
            let name = step.name.to_string();
            let known = server.get(&step.name).and_then(|found| found.metadata.uid.clone());
            if step.delete {
                let Some(id) = known else { continue };
                server.remove(&step.name);
                pending.push_back((true, object(&name, &id, version)));
                for _ in 0..step.watched {
                    pending.pop_front().into_iter().for_each(deliver);
                }
                if step.ours {
                    store.delete_written(&ObjectKey::new("default", &name), &id);
                    prop_assert!(store.indexed(IndexId(0), &id).is_empty());
                }
            } else {
                let id = known.unwrap_or_else(|| format!("{name}-{version}"));
                let written = object(&name, &id, version);
                server.insert(step.name, written.clone());
                pending.push_back((false, written.clone()));
                for _ in 0..step.watched {
                    pending.pop_front().into_iter().for_each(deliver);
                }
                if step.ours {
                    store.apply_written(written);
                    let found = store.indexed(IndexId(0), &id);
                    prop_assert_eq!(found.len(), 1);
                    prop_assert_eq!(version_of(found[0].as_ref()), version);
                }
            }
        }
        pending.into_iter().for_each(deliver);
        let truth: Vec<(String, String)> = server
            .iter()
            .map(|(name, found)| (name.to_string(), found.metadata.resource_version.clone().unwrap()))
            .collect();
        prop_assert_eq!(held(&store), truth);
    }
}
