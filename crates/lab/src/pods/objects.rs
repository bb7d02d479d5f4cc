//! ConfigMaps, Secrets and tokens that containers and volumes take values from. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The name of a ConfigMap or Secret of the pod's namespace. Shown as the kubelet's messages name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectName {
    /// A ConfigMap.
    ConfigMap(String),
    /// A Secret.
    Secret(String),
    /// A token of a pod's ServiceAccount: an object with the one key [`TOKEN_KEY`].
    Token(TokenName),
}

/// The key under which a token is found.
pub const TOKEN_KEY: &str = "token";

/// Which token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenName {
    /// The ServiceAccount.
    pub account: String,
    /// Name of the pod that the token is bound to.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// For whom; the API server when absent.
    pub audience: Option<String>,
    /// How long it is good for, in seconds.
    pub seconds: i64,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap(name) => write!(formatter, "configmap {name:?}"),
            Self::Secret(name) => write!(formatter, "secret {name:?}"),
            Self::Token(token) => write!(formatter, "token of serviceaccount {:?}", token.account),
        }
    }
}

/// The values of an object by key: `data` and `binaryData`, decoded.
pub type Data = BTreeMap<String, Vec<u8>>;

/// The objects that were asked for and exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    found: BTreeMap<ObjectName, Data>,
}

impl Objects {
    /// Objects as they were found.
    #[must_use]
    pub fn new(found: BTreeMap<ObjectName, Data>) -> Self {
        Self { found }
    }

    /// The values of an object; `None` when there is no such object and that is allowed.
    ///
    /// # Errors
    /// When it does not exist, in the kubelet's words.
    pub fn data(&self, name: &ObjectName, optional: bool) -> Result<Option<&Data>, String> {
        match self.found.get(name) {
            Some(data) => Ok(Some(data)),
            None if optional => Ok(None),
            None => Err(format!("{name} not found")),
        }
    }
}

/// Names without repetition, in a fixed order.
pub type ObjectNames = BTreeSet<ObjectName>;
