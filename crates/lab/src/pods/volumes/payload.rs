//! The files of a volume. Pure.

use std::collections::BTreeMap;

use crate::pods::environment::Addresses;
use crate::pods::objects::{Data, ObjectName, Objects, TOKEN_KEY};
use crate::pods::quantity::Amounts;
use crate::pods::spec::{DownwardContent, DownwardFile, Item, Part, PodSpec};

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// Files by their path below the volume.
pub type Files = BTreeMap<String, File>;

/// Puts the files of all parts together; of two of one path the later wins.
///
/// # Errors
/// When an object or a key does not exist, in the kubelet's words.
pub fn files(
    parts: &[Part],
    mode: u32,
    pod: &PodSpec,
    objects: &Objects,
    capacity: Amounts,
) -> Result<Files, String> {
    let mut files = Files::new();
    for part in parts {
        match part {
            Part::Object { name, items, optional } => {
                if let Some(data) = objects.data(name, *optional)? {
                    object_files(name, data, items.as_deref(), *optional, mode, &mut files)?;
                }
            }
            Part::Token { path, .. } => {
                let name = part.object(pod);
                let data = name.map(|name| objects.data(&name, false)).transpose()?.flatten();
                if let Some(token) = data.and_then(|data| data.get(TOKEN_KEY)) {
                    files.insert(path.clone(), File { content: token.clone(), mode });
                }
            }
            Part::Downward { items } => {
                for item in items {
                    let file = File { content: fact(item, pod, capacity)?, mode: item.mode.unwrap_or(mode) };
                    files.insert(item.path.clone(), file);
                }
            }
        }
    }
    Ok(files)
}

fn object_files(
    name: &ObjectName,
    data: &Data,
    items: Option<&[Item]>,
    optional: bool,
    mode: u32,
    files: &mut Files,
) -> Result<(), String> {
    let Some(items) = items else {
        let all = data.iter().map(|(key, value)| (key.clone(), File { content: value.clone(), mode }));
        files.extend(all);
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                let file = File { content: value.clone(), mode: item.mode.unwrap_or(mode) };
                files.insert(item.path.clone(), file);
            }
            None if optional => {}
            None => {
                return Err(match name {
                    ObjectName::ConfigMap(_) => {
                        format!("configmap references non-existent config key: {}", item.key)
                    }
                    ObjectName::Secret(_) => format!("references non-existent secret key: {}", item.key),
                    ObjectName::Token(_) => format!("{name} has no key {}", item.key),
                });
            }
        }
    }
    Ok(())
}

fn fact(item: &DownwardFile, pod: &PodSpec, capacity: Amounts) -> Result<Vec<u8>, String> {
    // Files take no field that has to do with addresses.
    let nowhere = Addresses { pod: std::net::Ipv4Addr::UNSPECIFIED, host: std::net::Ipv4Addr::UNSPECIFIED };
    match &item.content {
        DownwardContent::Field(field) => Ok(field.value(pod, nowhere).into_bytes()),
        DownwardContent::Resource(field) => field.value(pod, None, capacity).map(String::into_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::spec::VolumeSource;

    fn of(volume: serde_json::Value, objects: &Objects) -> Result<Vec<(String, String, u32)>, String> {
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u1", "labels": {"b": "2", "a": "1"}},
            "spec": {
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"memory": "64Mi"}}}],
                "volumes": [volume],
            },
        }));
        let pod = PodSpec::parse(&pod.unwrap()).unwrap();
        assert_eq!(pod.unsupported, None);
        let VolumeSource::Files { parts, mode } = &pod.volumes[0].source else { panic!("no files") };
        let files = files(parts, *mode, &pod, objects, Amounts::default())?;
        let text = |file: &File| String::from_utf8(file.content.clone()).unwrap();
        Ok(files.iter().map(|(path, file)| (path.clone(), text(file), file.mode)).collect())
    }

    fn objects() -> Objects {
        let data = Data::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        Objects::new([(ObjectName::ConfigMap("cm".into()), data)].into())
    }

    #[test]
    fn keys_become_files() {
        let all = serde_json::json!({"name": "v", "configMap": {"name": "cm", "defaultMode": 0o400}});
        assert_eq!(
            of(all, &objects()).unwrap(),
            [("a".into(), "1".into(), 0o400), ("b".into(), "2".into(), 0o400)]
        );
        let some = serde_json::json!({"name": "v", "configMap": {"name": "cm", "items": [
            {"key": "b", "path": "etc/b.conf", "mode": 0o600},
        ]}});
        assert_eq!(of(some, &objects()).unwrap(), [("etc/b.conf".into(), "2".into(), 0o600)]);
    }

    #[test]
    fn what_is_missing_is_said_as_the_kubelet_says_it() {
        let key = serde_json::json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "x", "path": "x"}]}});
        assert_eq!(of(key, &objects()).unwrap_err(), "configmap references non-existent config key: x");
        let object = serde_json::json!({"name": "v", "secret": {"secretName": "s"}});
        assert_eq!(of(object, &objects()).unwrap_err(), "secret \"s\" not found");
        let optional = serde_json::json!({"name": "v", "secret": {"secretName": "s", "optional": true}});
        assert_eq!(of(optional, &objects()).unwrap(), []);
    }

    #[test]
    fn projections_are_laid_over_each_other() {
        let volume = serde_json::json!({"name": "v", "projected": {"sources": [
            {"configMap": {"name": "cm"}},
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "a", "fieldRef": {"fieldPath": "metadata.name"}},
                {"path": "memory", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}},
            ]}},
        ]}});
        let files = of(volume, &objects()).unwrap();
        let text: Vec<_> = files.iter().map(|(path, text, _)| (path.as_str(), text.as_str())).collect();
        assert_eq!(text, [("a", "web"), ("b", "2"), ("labels", "a=\"1\"\nb=\"2\""), ("memory", "64")]);
    }
}
