//! Kernel settings through `/proc/sys`.

use std::fs;
use std::io;
use std::path::PathBuf;

use netstate::sysctl::{SysctlError, SysctlKey, SysctlPort};

use crate::netns::{Netns, NetnsError};

/// The settings of one namespace.
///
/// `/proc/sys/net` shows the namespace of the thread that looks (`net_ctl_root` in the kernel asks the current task),
/// so those of another namespace are reached from a helper thread inside it.
#[derive(Debug)]
pub struct Sysctls {
    namespace: Option<Netns>,
}

impl Sysctls {
    /// The settings of whatever namespace the calling thread is in.
    #[must_use]
    pub fn in_current() -> Self {
        Self { namespace: None }
    }

    /// The settings of a namespace.
    #[must_use]
    pub fn in_namespace(namespace: Netns) -> Self {
        Self { namespace: Some(namespace) }
    }

    fn inside<T: Send>(&self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match &self.namespace {
            None => act(),
            Some(namespace) => namespace.run(act).map_err(|error| match error {
                NetnsError::Step { source, .. } => source,
                NetnsError::InvalidName { .. } => io::ErrorKind::InvalidInput.into(),
            })?,
        }
    }
}

/// Dots part the name, but for a slash, which stands for a dot inside a link's name.
fn path_of(key: &SysctlKey) -> PathBuf {
    let parts = key.as_str().split('.').map(|part| part.replace('/', "."));
    PathBuf::from("/proc/sys").join(parts.collect::<Vec<_>>().join("/"))
}

impl SysctlPort for Sysctls {
    fn read(&self, key: &SysctlKey) -> Result<Option<String>, SysctlError> {
        match self.inside(|| fs::read_to_string(path_of(key))) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SysctlError { key: key.clone(), source }),
        }
    }

    fn write(&self, key: &SysctlKey, value: &str) -> Result<(), SysctlError> {
        self.inside(|| fs::write(path_of(key), value))
            .map_err(|source| SysctlError { key: key.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_in_a_key_stands_for_a_dot_in_a_link_name() {
        let key = SysctlKey::ipv4_conf("eth0.100", "rp_filter");
        assert_eq!(path_of(&key).to_str(), Some("/proc/sys/net/ipv4/conf/eth0.100/rp_filter"));
    }
}
