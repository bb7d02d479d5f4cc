use crate::config::ConfigError;
use crate::objects::ObjectKey;

/// Why a controller could not do what it wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ranges of the [`Config`](crate::Config) cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API server refused a request or did not answer.
    #[error("{verb} {kind} {key}: {}", reason(source))]
    Api {
        /// What was asked: `create`, `update`, `delete`, `bind`, ….
        verb: &'static str,
        /// The kind of the object, for example `Pod`.
        kind: String,
        /// The object's namespace and name.
        key: ObjectKey,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The cluster's pod range has no free piece for a node.
    #[error("no free pod range of /{node_prefix_length} is left in {pod_cidr} for node {node}")]
    PodRangeExhausted {
        /// The node that goes without.
        node: String,
        /// The cluster's pod range.
        pod_cidr: ipnet::IpNet,
        /// The prefix length of one piece.
        node_prefix_length: u8,
    },
    /// A controller ended although none ever should: a defect.
    #[error("a controller has stopped, and the others with it: {source}; start the control plane again")]
    Stopped {
        /// How it ended.
        #[source]
        source: tokio::task::JoinError,
    },
    /// Something must happen elsewhere first; the work is tried again later.
    #[error("waiting for {what}")]
    Waiting {
        /// What is awaited.
        what: String,
    },
}

/// The text of the API server's answer without the debug form that [`kube::Error`] adds.
fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl Error {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// The object, or the resource itself, does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// The object was changed or replaced since it was read.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409 && status.reason == "Conflict")
    }

    /// An object of that name exists.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409 && status.reason == "AlreadyExists")
    }

    /// The namespace is being deleted and takes nothing new.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status().is_some_and(|status| {
            status.code == 403
                && (status.message.contains("being terminated")
                    || status.details.as_ref().is_some_and(|details| {
                        details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
                    }))
        })
    }

    /// The same request may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Config(_) | Self::PodRangeExhausted { .. } | Self::Stopped { .. } => false,
            Self::Waiting { .. } => true,
            Self::Api { .. } => match self.status() {
                Some(status) => self.is_conflict() || status.code == 429 || status.code >= 500,
                None => true,
            },
        }
    }

    /// Nobody knows whether the request was carried out: the answer was lost.
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Api { .. } => self.status().is_none_or(|status| status.code >= 500),
            _ => false,
        }
    }
}
