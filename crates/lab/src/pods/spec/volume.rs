//! The volumes of a pod, parsed.

use k8s_openapi::api::core::v1 as core;

use super::PodSpec;
use crate::pods::environment::{FieldPath, ResourceField};
use crate::pods::objects::{ObjectName, ObjectNames, TokenName};

/// Mode of a file of a volume when nothing says otherwise.
const FILE_MODE: u32 = 0o644;
/// Seconds that a projected token is good for when nothing says otherwise (the API's default).
const TOKEN_LIFE: i64 = 3600;

/// One volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Unique within the pod.
    pub name: String,
    /// What is in it.
    pub source: VolumeSource,
}

/// What is in a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A directory that lives as long as the pod.
    EmptyDir {
        /// In memory: a tmpfs.
        memory: bool,
        /// sizeLimit in bytes; kept for memory only.
        limit: Option<u64>,
    },
    /// A file or directory of the node.
    HostPath {
        /// Absolute.
        path: String,
        /// What there must be, or is made.
        kind: HostPathKind,
    },
    /// Files that the agent writes and keeps up to date.
    Files {
        /// Where they come from; of two files of one name the later wins.
        parts: Vec<Part>,
        /// Permission bits of files that name none.
        mode: u32,
    },
}

/// hostPath.type
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPathKind {
    /// Anything, even nothing: then a directory is made.
    Any,
    /// A directory, made when there is nothing.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made when there is nothing.
    FileOrCreate,
    /// A file.
    File,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// One source of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The values of a ConfigMap or Secret, one file per key.
    Object {
        /// Which one.
        name: ObjectName,
        /// Only these keys, at these paths; all keys at their own names when absent.
        items: Option<Vec<Item>>,
        /// Neither the object nor the keys need exist.
        optional: bool,
    },
    /// Facts of the pod.
    Downward {
        /// One file each.
        items: Vec<DownwardFile>,
    },
    /// A token of the pod's ServiceAccount.
    Token {
        /// For whom; the API server when absent.
        audience: Option<String>,
        /// How long it is good for, in seconds.
        seconds: i64,
        /// The file, relative to the volume.
        path: String,
    },
}

/// A key of an object and the file that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: String,
    /// The file, relative to the volume.
    pub path: String,
    /// Its permission bits.
    pub mode: Option<u32>,
}

/// A file with a fact of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownwardFile {
    /// The file, relative to the volume.
    pub path: String,
    /// Its permission bits.
    pub mode: Option<u32>,
    /// The fact.
    pub content: DownwardContent,
}

/// What a downward file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownwardContent {
    /// A field of the pod.
    Field(FieldPath),
    /// An amount of a container.
    Resource(ResourceField),
}

impl Part {
    /// The object that it shows, if any; `pod` is the one that it is a part of a volume of.
    #[must_use]
    pub fn object(&self, pod: &PodSpec) -> Option<ObjectName> {
        match self {
            Self::Object { name, .. } => Some(name.clone()),
            Self::Downward { .. } => None,
            Self::Token { audience, seconds, .. } => Some(ObjectName::Token(TokenName {
                account: pod.service_account.clone(),
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                audience: audience.clone(),
                seconds: *seconds,
            })),
        }
    }
}

impl VolumeSpec {
    /// Parses a volume; `Err` names what this node cannot do.
    ///
    /// # Errors
    /// When the source is none that the agent has.
    pub fn parse(volume: &core::Volume) -> Result<Self, String> {
        let name = volume.name.clone();
        let source = source(volume).map_err(|problem| format!("volume {name:?}: {problem}"))?;
        Ok(Self { name, source })
    }

    /// The ConfigMaps, Secrets and tokens that it shows; `pod` is the one whose volume it is.
    pub fn objects(&self, pod: &PodSpec, names: &mut ObjectNames) {
        if let VolumeSource::Files { parts, .. } = &self.source {
            names.extend(parts.iter().filter_map(|part| part.object(pod)));
        }
    }

    /// Whether the content follows something that changes.
    #[must_use]
    pub fn is_refreshed(&self) -> bool {
        matches!(self.source, VolumeSource::Files { .. })
    }
}

fn source(volume: &core::Volume) -> Result<VolumeSource, String> {
    let mode = |mode: Option<i32>| permission(mode).unwrap_or(FILE_MODE);
    if let Some(source) = &volume.empty_dir {
        let limit = source.size_limit.as_ref().and_then(|limit| crate::pods::quantity::nanos(&limit.0));
        let limit = limit.and_then(|nanos| u64::try_from(nanos.div_ceil(1_000_000_000)).ok());
        return match source.medium.as_deref() {
            None | Some("") => Ok(VolumeSource::EmptyDir { memory: false, limit }),
            Some("Memory") => Ok(VolumeSource::EmptyDir { memory: true, limit }),
            Some(other) => Err(format!("emptyDir of medium {other:?} is not supported")),
        };
    }
    if let Some(source) = &volume.host_path {
        let kind = host_path_kind(source.type_.as_deref().unwrap_or_default())?;
        return Ok(VolumeSource::HostPath { path: source.path.clone(), kind });
    }
    if let Some(source) = &volume.config_map {
        let part =
            object(ObjectName::ConfigMap(source.name.clone()), source.items.as_deref(), source.optional);
        return Ok(VolumeSource::Files { parts: vec![part], mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.secret {
        let name = ObjectName::Secret(source.secret_name.clone().unwrap_or_default());
        let part = object(name, source.items.as_deref(), source.optional);
        return Ok(VolumeSource::Files { parts: vec![part], mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.downward_api {
        let part = downward(source.items.as_deref())?;
        return Ok(VolumeSource::Files { parts: vec![part], mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.projected {
        let parts: Result<_, String> = source.sources.iter().flatten().map(projection).collect();
        return Ok(VolumeSource::Files { parts: parts?, mode: mode(source.default_mode) });
    }
    // The API server's default for a volume without a source is an emptyDir.
    if *volume == (core::Volume { name: volume.name.clone(), ..core::Volume::default() }) {
        return Ok(VolumeSource::EmptyDir { memory: false, limit: None });
    }
    Err("only configMap, secret, downwardAPI, projected, hostPath and emptyDir volumes are supported"
        .to_owned())
}

fn host_path_kind(kind: &str) -> Result<HostPathKind, String> {
    Ok(match kind {
        "" => HostPathKind::Any,
        "DirectoryOrCreate" => HostPathKind::DirectoryOrCreate,
        "Directory" => HostPathKind::Directory,
        "FileOrCreate" => HostPathKind::FileOrCreate,
        "File" => HostPathKind::File,
        "Socket" => HostPathKind::Socket,
        "CharDevice" => HostPathKind::CharDevice,
        "BlockDevice" => HostPathKind::BlockDevice,
        other => return Err(format!("there is no hostPath type {other:?}")),
    })
}

fn projection(source: &core::VolumeProjection) -> Result<Part, String> {
    if let Some(source) = &source.config_map {
        let name = ObjectName::ConfigMap(source.name.clone());
        return Ok(object(name, source.items.as_deref(), source.optional));
    }
    if let Some(source) = &source.secret {
        return Ok(object(ObjectName::Secret(source.name.clone()), source.items.as_deref(), source.optional));
    }
    if let Some(source) = &source.downward_api {
        return downward(source.items.as_deref());
    }
    if let Some(source) = &source.service_account_token {
        return Ok(Part::Token {
            audience: source.audience.clone().filter(|audience| !audience.is_empty()),
            seconds: source.expiration_seconds.unwrap_or(TOKEN_LIFE),
            path: source.path.clone(),
        });
    }
    Err("of projections only configMap, secret, downwardAPI and serviceAccountToken are supported".to_owned())
}

fn object(name: ObjectName, items: Option<&[core::KeyToPath]>, optional: Option<bool>) -> Part {
    // To Kubernetes an empty list is none.
    let items = items.filter(|items| !items.is_empty()).map(|items| {
        let item = |item: &core::KeyToPath| Item {
            key: item.key.clone(),
            path: item.path.clone(),
            mode: permission(item.mode),
        };
        items.iter().map(item).collect()
    });
    Part::Object { name, items, optional: optional == Some(true) }
}

fn downward(items: Option<&[core::DownwardAPIVolumeFile]>) -> Result<Part, String> {
    let file = |item: &core::DownwardAPIVolumeFile| {
        let content = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => DownwardContent::Field(
                FieldPath::of_volume(&field.field_path)
                    .ok_or_else(|| format!("no field {:?} for files", field.field_path))?,
            ),
            (None, Some(resource)) => DownwardContent::Resource(ResourceField::parse(resource)?),
            (None, None) => return Err(format!("{:?} names neither a field nor a resource", item.path)),
        };
        Ok(DownwardFile { path: item.path.clone(), mode: permission(item.mode), content })
    };
    let items: Result<_, String> = items.unwrap_or_default().iter().map(file).collect();
    Ok(Part::Downward { items: items? })
}

fn permission(mode: Option<i32>) -> Option<u32> {
    mode.and_then(|mode| u32::try_from(mode).ok()).map(|mode| mode & 0o777)
}
