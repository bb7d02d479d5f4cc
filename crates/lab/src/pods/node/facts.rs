//! What a node tells about its machine.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The Kubernetes version whose node behaviour this is.
const KUBELET_VERSION: &str = "v1.33.0";
/// The number of pods that a node takes, as the kubelet's default.
const MAX_PODS: u32 = 110;

/// Facts read once; what cannot be read stays empty.
#[derive(Debug, Clone)]
pub(super) struct MachineFacts {
    cpus: usize,
    memory_kib: u64,
    storage_kib: u64,
    kernel: String,
    system: String,
    machine: String,
    boot: String,
    runtime: String,
}

/// The architecture as Go, and so Kubernetes, calls it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl MachineFacts {
    pub(super) fn read() -> Self {
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_kib: memory_kib(&line("/proc/meminfo")).unwrap_or(0),
            storage_kib: storage_kib("/").unwrap_or(0),
            kernel: line("/proc/sys/kernel/osrelease"),
            system: pretty_name(&line("/etc/os-release")).unwrap_or_else(|| "Linux".to_owned()),
            machine: line("/etc/machine-id"),
            boot: line("/proc/sys/kernel/random/boot_id"),
            runtime: runc_version().unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    pub(super) fn capacity(&self) -> BTreeMap<String, Quantity> {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(self.cpus.to_string())),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", self.storage_kib))),
            ("memory".to_owned(), Quantity(format!("{}Ki", self.memory_kib))),
            ("pods".to_owned(), Quantity(MAX_PODS.to_string())),
        ])
    }

    pub(super) fn node_info(&self) -> NodeSystemInfo {
        NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: self.boot.clone(),
            container_runtime_version: format!("runc://{}", self.runtime),
            kernel_version: self.kernel.clone(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            kube_proxy_version: KUBELET_VERSION.to_owned(),
            machine_id: self.machine.clone(),
            operating_system: "linux".to_owned(),
            os_image: self.system.clone(),
            system_uuid: self.machine.clone(),
            ..NodeSystemInfo::default()
        }
    }
}

fn memory_kib(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The size of the file system that holds the pods' files, as far as `/` stands for it.
fn storage_kib(path: &str) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_blocks.saturating_mul(found.f_frsize) / 1024)
}

fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

fn runc_version() -> Option<String> {
    let output = std::process::Command::new("runc").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next()?.split_whitespace().last().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_kernel_and_debian_write_them() {
        assert_eq!(memory_kib("MemTotal:       16316412 kB\nMemFree: 1 kB"), Some(16_316_412));
        let release = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name(release).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
    }
}
