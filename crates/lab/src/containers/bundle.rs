//! The `config.json` of a container (OCI runtime specification 1.0), made from spec and image.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use oci_spec::{
    OciSpecError,
    runtime::{
        Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder,
        LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources,
        LinuxResourcesBuilder, Mount, MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
        UserBuilder, get_default_maskedpaths, get_default_readonly_paths,
    },
};

use super::{Capabilities, ContainerError, ContainerSpec, Privileges, Terminal, user::Identity};
use crate::images::ImageConfig;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What Docker and containerd leave to a container's root.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Everything that runc is told about a container.
///
/// `oomScoreAdj` and `rlimits` are left out on purpose: runc would set them, and root without
/// `CAP_SYS_RESOURCE` may not.
pub(super) fn oci_spec(
    spec: &ContainerSpec,
    identity: &Identity,
    cgroup: PathBuf,
) -> Result<Spec, ContainerError> {
    let args = command(spec)?;
    let capabilities = match spec.privileges {
        Privileges::All => every_capability(),
        Privileges::Usual | Privileges::NeverMore => capabilities(&spec.capabilities)?,
    };
    build(spec, identity, args, capabilities, cgroup)
        .map_err(|error| ContainerError::Runtime { message: error.to_string() })
}

fn build(
    spec: &ContainerSpec,
    identity: &Identity,
    args: Vec<String>,
    capabilities: HashSet<Capability>,
    cgroup: PathBuf,
) -> Result<Spec, OciSpecError> {
    let image = &spec.image.config;
    let user = UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.additional_gids.clone())
        .build()?;
    // Inheritable and ambient sets stay empty: a program of another user starts without any (CVE-2022-24769).
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?;
    let process = ProcessBuilder::default()
        .terminal(spec.terminal == Terminal::Pty)
        .user(user)
        .args(args)
        .env(environment(image, identity, &spec.env, spec.terminal))
        .cwd(working_dir(spec))
        .capabilities(sets)
        .no_new_privileges(spec.privileges == Privileges::NeverMore)
        .build()?;
    // What is not told to the builder must be absent, not the library's default.
    let mut process = process;
    process.set_rlimits(None).set_oom_score_adj(None);
    let privileged = spec.privileges == Privileges::All;
    let linux = LinuxBuilder::default()
        .namespaces(namespaces(spec)?)
        .cgroups_path(cgroup)
        .resources(resources(spec)?)
        .masked_paths(if privileged { Vec::new() } else { get_default_maskedpaths() })
        .readonly_paths(if privileged { Vec::new() } else { get_default_readonly_paths() })
        .build()?;
    let root = RootBuilder::default().path("rootfs").readonly(spec.read_only_root).build()?;
    let mut config = SpecBuilder::default()
        .version("1.0.2")
        .root(root)
        .mounts(mounts(spec)?)
        .process(process)
        .linux(linux)
        .build()?;
    config.set_hostname(None);
    Ok(config)
}

/// The period that CPU limits are counted in, in microseconds: the kernel's and the kubelet's default.
const CPU_PERIOD: u64 = 100_000;
/// The kernel takes no smaller share of a period, in microseconds.
const LEAST_QUOTA: i64 = 1000;

/// Devices, CPU and memory.
fn resources(spec: &ContainerSpec) -> Result<LinuxResources, OciSpecError> {
    let privileged = spec.privileges == Privileges::All;
    let devices = LinuxDeviceCgroupBuilder::default().allow(privileged).access("rwm").build()?;
    let mut resources = LinuxResourcesBuilder::default().devices(vec![devices]);
    let limits = &spec.limits;
    if limits.cpu_shares > 0 || limits.cpu_milli.is_some() {
        let mut cpu = LinuxCpuBuilder::default();
        if limits.cpu_shares > 0 {
            cpu = cpu.shares(limits.cpu_shares);
        }
        if let Some(milli) = limits.cpu_milli {
            let quota = i64::try_from(milli.saturating_mul(CPU_PERIOD) / 1000).unwrap_or(i64::MAX);
            cpu = cpu.period(CPU_PERIOD).quota(quota.max(LEAST_QUOTA));
        }
        resources = resources.cpu(cpu.build()?);
    }
    if let Some(bytes) = limits.memory {
        // The second limit counts swap too: equal means none.
        resources = resources.memory(LinuxMemoryBuilder::default().limit(bytes).swap(bytes).build()?);
    }
    resources.build()
}

/// The words to run, put together as Kubernetes says ("Define a Command and Arguments for a Container").
fn command(spec: &ContainerSpec) -> Result<Vec<String>, ContainerError> {
    let image = &spec.image.config;
    let mut words = spec.command.clone().unwrap_or_else(|| image.entrypoint.clone());
    match (&spec.args, &spec.command) {
        (Some(args), _) => words.extend(args.iter().cloned()),
        (None, Some(_)) => {}
        (None, None) => words.extend(image.cmd.iter().cloned()),
    }
    if words.is_empty() { Err(ContainerError::NoCommand) } else { Ok(words) }
}

/// The image's variables, then the pod's over them; `PATH`, `HOME` and a terminal's `TERM` when neither has them.
fn environment(
    image: &ImageConfig,
    identity: &Identity,
    of_pod: &[(String, String)],
    terminal: Terminal,
) -> Vec<String> {
    let split = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.to_owned())
    };
    let mut variables: Vec<(String, String)> = vec![("PATH".into(), DEFAULT_PATH.into())];
    if let Some(home) = &identity.home {
        variables.push(("HOME".into(), home.clone()));
    }
    if terminal == Terminal::Pty {
        variables.push(("TERM".into(), "xterm".into()));
    }
    for (name, value) in image.env.iter().map(split).chain(of_pod.iter().cloned()) {
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => variables.push((name, value)),
        }
    }
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn working_dir(spec: &ContainerSpec) -> PathBuf {
    let image = &spec.image.config.working_dir;
    let given = spec.working_dir.as_deref().unwrap_or(image);
    // runc wants it absolute; Docker reads a relative one from the root.
    Path::new("/").join(given)
}

fn namespaces(spec: &ContainerSpec) -> Result<Vec<LinuxNamespace>, OciSpecError> {
    let joined = &spec.namespaces;
    [
        (LinuxNamespaceType::Pid, None),
        (LinuxNamespaceType::Mount, None),
        (LinuxNamespaceType::Network, joined.net.as_ref()),
        (LinuxNamespaceType::Ipc, joined.ipc.as_ref()),
        (LinuxNamespaceType::Uts, joined.uts.as_ref()),
    ]
    .into_iter()
    .map(|(kind, path)| {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        match path {
            Some(path) => builder.path(path).build(),
            None => builder.build(),
        }
    })
    .collect()
}

/// `/proc`, `/dev` and `/sys` as containerd mounts them, then the caller's. Left out: `/sys/fs/cgroup`, which would
/// show a lab's containers the machine's own groups.
fn mounts(spec: &ContainerSpec) -> Result<Vec<Mount>, OciSpecError> {
    const SAFE: &[&str] = &["nosuid", "noexec", "nodev"];
    let of_system: [(&str, &str, &[&[&str]]); 6] = [
        ("/proc", "proc", &[SAFE]),
        ("/dev", "tmpfs", &[&["nosuid", "strictatime", "mode=755", "size=65536k"]]),
        (
            "/dev/pts",
            "devpts",
            &[&["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]],
        ),
        ("/dev/mqueue", "mqueue", &[SAFE]),
        ("/dev/shm", "tmpfs", &[SAFE, &["mode=1777", "size=65536k"]]),
        ("/sys", "sysfs", if spec.privileges == Privileges::All { &[SAFE] } else { &[SAFE, &["ro"]] }),
    ];
    let replaced: BTreeSet<&Path> = spec.mounts.iter().map(|mount| mount.destination.as_path()).collect();
    let mut mounts = Vec::new();
    for (destination, kind, options) in of_system {
        if replaced.contains(Path::new(destination)) {
            continue;
        }
        let options: Vec<String> = options.concat().into_iter().map(str::to_owned).collect();
        let mount = MountBuilder::default().destination(destination).typ(kind).source(kind).options(options);
        mounts.push(mount.build()?);
    }
    for mount in &spec.mounts {
        let access = if mount.read_only { "ro" } else { "rw" };
        let options: Vec<String> = ["rbind", "rprivate", access].map(str::to_owned).into();
        let mount = MountBuilder::default()
            .destination(&mount.destination)
            .typ("bind")
            .source(&mount.source)
            .options(options);
        mounts.push(mount.build()?);
    }
    Ok(mounts)
}

/// The default set with the spec's differences. `ALL` stands for every capability there is.
fn capabilities(asked: &Capabilities) -> Result<HashSet<Capability>, ContainerError> {
    let parse = |name: &str| -> Result<Capability, ContainerError> {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        short.parse().map_err(|_| ContainerError::UnknownCapability { name: name.to_owned() })
    };
    let named = |names: &BTreeSet<String>| -> Result<HashSet<Capability>, ContainerError> {
        names.iter().filter(|name| *name != "ALL").map(|name| parse(name)).collect()
    };
    let (add, drop) = (named(&asked.add)?, named(&asked.drop)?);
    let mut set = HashSet::new();
    if asked.add.contains("ALL") {
        set.extend(every_capability());
    } else if !asked.drop.contains("ALL") {
        for name in DEFAULT_CAPABILITIES {
            set.insert(parse(name)?);
        }
    }
    set.retain(|capability| !drop.contains(capability));
    set.extend(add);
    Ok(set)
}

/// Every capability that the library names; runc leaves out those that the kernel does not have.
fn every_capability() -> HashSet<Capability> {
    const OTHERS: [&str; 26] = [
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "DAC_READ_SEARCH",
        "IPC_LOCK",
        "IPC_OWNER",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "NET_ADMIN",
        "NET_BROADCAST",
        "PERFMON",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "SYSLOG",
        "WAKE_ALARM",
    ];
    // CAP_SYS_RESOURCE is not among them: see the module's note on machines whose root lacks it.
    DEFAULT_CAPABILITIES.iter().chain(&OTHERS).filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn capabilities_of(add: &[&str], drop: &[&str]) -> HashSet<Capability> {
        capabilities(&Capabilities { add: set(add), drop: set(drop) }).unwrap()
    }

    #[test]
    fn capabilities_follow_kubernetes() {
        assert_eq!(capabilities_of(&[], &[]).len(), DEFAULT_CAPABILITIES.len());
        assert!(capabilities_of(&["NET_ADMIN"], &[]).contains(&Capability::NetAdmin));
        assert!(!capabilities_of(&[], &["NET_RAW"]).contains(&Capability::NetRaw));
        assert_eq!(
            capabilities_of(&["NET_BIND_SERVICE"], &["ALL"]),
            HashSet::from([Capability::NetBindService])
        );
        assert!(capabilities_of(&["ALL"], &[]).contains(&Capability::SysAdmin));
        assert!(capabilities(&Capabilities { add: set(&["NONSENSE"]), drop: set(&[]) }).is_err());
    }

    #[test]
    fn later_variables_win_and_keep_their_place() {
        let image = ImageConfig { env: vec!["PATH=/image".into(), "A=1".into()], ..ImageConfig::default() };
        let pod = [("A".to_owned(), "2".to_owned()), ("B".to_owned(), "3=4".to_owned())];
        let home = Identity { home: Some("/root".into()), ..Identity::default() };
        assert_eq!(
            environment(&image, &home, &pod, Terminal::None),
            ["PATH=/image", "HOME=/root", "A=2", "B=3=4"]
        );
        let on_terminal = environment(&image, &Identity::default(), &[], Terminal::Pty);
        assert_eq!(on_terminal, ["PATH=/image", "TERM=xterm", "A=1"]);
    }
}
