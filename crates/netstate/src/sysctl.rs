//! Kernel settings under `/proc/sys/net`: which we want, the port, and a fake.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A setting by its dotted name. A link name with a dot in it is written with a slash, as sysctl(8) does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysctlKey(String);

impl SysctlKey {
    /// A setting below `net.`, such as `net.ipv4.ip_forward`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A setting of one link, or of `all` or `default`: `net.ipv4.conf.LINK.NAME`.
    #[must_use]
    pub fn ipv4_conf(link: &str, name: &str) -> Self {
        Self(format!("net.ipv4.conf.{}.{name}", link.replace('.', "/")))
    }

    /// The dotted name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The settings of one namespace.
pub trait SysctlPort: Send + Sync {
    /// Reads a setting, without white space around it; `None` when this kernel does not have it.
    ///
    /// # Errors
    /// [`SysctlError`] when it cannot be read.
    fn read(&self, key: &SysctlKey) -> Result<Option<String>, SysctlError>;

    /// Writes a setting.
    ///
    /// # Errors
    /// [`SysctlError`] when it is missing or refused.
    fn write(&self, key: &SysctlKey, value: &str) -> Result<(), SysctlError>;
}

/// Makes settings as wanted and writes only those that differ. Returns how many were written.
///
/// # Errors
/// [`SysctlError`] of the first setting that is missing or refused.
pub fn apply(port: &dyn SysctlPort, wanted: &[(SysctlKey, &str)]) -> Result<usize, SysctlError> {
    let mut written = 0;
    for (key, value) in wanted {
        if port.read(key)?.as_deref() != Some(*value) {
            port.write(key, value)?;
            written += 1;
        }
    }
    Ok(written)
}

/// Why a setting could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("kernel setting {key}: {source}{}", advice(source))]
pub struct SysctlError {
    /// Which setting.
    pub key: SysctlKey,
    /// Why.
    #[source]
    pub source: io::Error,
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            " (/proc/sys is mounted read-only: run `mount -o remount,rw /proc/sys`)"
        }
        io::ErrorKind::PermissionDenied => " (root is needed)",
        _ => "",
    }
}

/// Settings in memory: those it was given exist, others do not. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct FakeSysctls {
    values: Arc<Mutex<BTreeMap<SysctlKey, String>>>,
}

impl FakeSysctls {
    /// All settings now.
    #[must_use]
    pub fn values(&self) -> BTreeMap<SysctlKey, String> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SysctlPort for FakeSysctls {
    fn read(&self, key: &SysctlKey) -> Result<Option<String>, SysctlError> {
        Ok(self.values().get(key).cloned())
    }

    fn write(&self, key: &SysctlKey, value: &str) -> Result<(), SysctlError> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.insert(key.clone(), value.to_owned());
        Ok(())
    }
}
