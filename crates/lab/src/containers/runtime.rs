//! The life of containers: make, let go, watch, end, forget.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::process::Command;

use super::{
    ContainerError, ContainerExit, ContainerId, ContainerSpec, ContainerStatus, ExecOutput, ExecRequest,
    SessionClient, SessionEnd, SessionRequest, attach, bundle,
    cgroup::LabCgroup,
    command,
    conmon::Conmon,
    exec, overlay,
    record::{Bundle, Record},
    session, user,
};
use crate::images::Store;

/// A killed process that does not end in this time hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Where a node's containers live.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Directory of this node's containers; made when missing. Nothing is written elsewhere but logs.
    pub directory: PathBuf,
    /// The machine's images.
    pub images: Store,
    /// The lab's control group.
    pub cgroup: LabCgroup,
    /// Name of the node, for the containers' control groups.
    pub node: String,
}

/// The containers of one node. It keeps nothing in memory: all that it knows stands in files and processes, so that
/// any number of instances, one after the other, see the same containers.
#[derive(Debug)]
pub struct Runtime {
    bundles: PathBuf,
    images: Store,
    cgroup: LabCgroup,
    node: String,
    conmon: Conmon,
}

impl Runtime {
    /// Opens a node's containers, with those that an earlier process made.
    ///
    /// # Errors
    /// [`ContainerError::MissingProgram`] without runc or conmon, [`ContainerError::UnusableDirectory`] when
    /// overlayfs cannot take its path, [`ContainerError::Io`] when it cannot be made.
    pub fn open(config: RuntimeConfig) -> Result<Self, ContainerError> {
        let bundles = config.directory.join("bundles");
        let runc_root = config.directory.join("runc");
        for directory in [&config.directory, &bundles, &runc_root] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(directory)
                .map_err(|source| ContainerError::io("make", directory, source))?;
        }
        let absolute =
            |path: &Path| fs::canonicalize(path).map_err(|source| ContainerError::io("find", path, source));
        let (bundles, runc_root) = (absolute(&bundles)?, absolute(&runc_root)?);
        for path in [&bundles, config.images.directory()] {
            if let Some(reason) = overlay::unusable(path) {
                return Err(ContainerError::UnusableDirectory { directory: path.to_owned(), reason });
            }
        }
        let group = config.cgroup.path().join("daemons/cgroup.procs");
        let conmon = Conmon { conmon: program("conmon")?, runc: program("runc")?, runc_root, group };
        Ok(Self { bundles, images: config.images, cgroup: config.cgroup, node: config.node, conmon })
    }

    /// Makes a container; its main process waits for [`Runtime::start`]. On failure nothing of it is left.
    ///
    /// # Errors
    /// [`ContainerError::AlreadyExists`]; [`ContainerError::Image`] when the image cannot be unpacked;
    /// [`ContainerError::Runtime`] with runc's words, for instance when the program is not in the image.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<(), ContainerError> {
        let bundle = self.bundle(&spec.id);
        bundle.create(&Record { created_at: Timestamp::now(), labels: spec.labels.clone() })?;
        let created = async {
            self.prepare(&bundle, spec).await?;
            self.conmon.create(&bundle, spec).await
        };
        if let Err(error) = created.await {
            if let Err(left) = self.delete(&spec.id).await {
                tracing::warn!(container = %spec.id, error = %left, "a container that failed left things behind");
            }
            return Err(error);
        }
        Ok(())
    }

    /// Lets the main process of a created container go, and returns the time.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`]; [`ContainerError::Runtime`] with runc's words.
    pub async fn start(&self, id: &ContainerId) -> Result<Timestamp, ContainerError> {
        let bundle = self.existing(id)?;
        let started_at = Timestamp::now();
        self.runc(["start", id.as_str()]).await?;
        bundle.set_started(started_at)?;
        Ok(started_at)
    }

    /// Returns when the container has ended; at once if it has. Many may wait for one container.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`]; [`ContainerError::Io`] when the outcome cannot be noted.
    pub async fn wait(&self, id: &ContainerId) -> Result<ContainerExit, ContainerError> {
        let bundle = self.existing(id)?;
        if let Some(exit) = bundle.exit() {
            return Ok(exit);
        }
        // conmon writes the outcome as its last deed, so its end says that the outcome is there. Its being killed
        // is noticed the same way.
        if let Some(conmon) = bundle.conmon() {
            conmon
                .ended()
                .await
                .map_err(|source| ContainerError::io("wait for", &bundle.directory, source))?;
        }
        if !bundle.exists() {
            return Err(ContainerError::NotFound { id: id.clone() });
        }
        bundle.give_up()
    }

    /// State of one container.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`].
    pub async fn status(&self, id: &ContainerId) -> Result<ContainerStatus, ContainerError> {
        let bundle = self.bundle(id);
        bundle.status(|| self.has_run(id))
    }

    /// Every container of this node, by name. One that is being made at this moment shows as incomplete.
    ///
    /// # Errors
    /// [`ContainerError::Io`] when the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<ContainerStatus>, ContainerError> {
        let failed = |source| ContainerError::io("read", &self.bundles, source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.bundles).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<ContainerId>().ok()) else { continue };
            match self.status(&id).await {
                Ok(status) => found.push(status),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }

    /// Sends a signal to the main process.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`], or [`ContainerError::NotRunning`] when it has ended.
    pub fn signal(&self, id: &ContainerId, signal: Signal) -> Result<(), ContainerError> {
        let bundle = self.existing(id)?;
        let main = bundle.main_process().ok_or_else(|| ContainerError::NotRunning { id: id.clone() })?;
        main.signal(signal).map_err(|source| ContainerError::io("signal", &bundle.directory, source))
    }

    /// Runs a command inside a running container and waits for it. Dropping the future kills the command.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`], [`ContainerError::NotRunning`], [`ContainerError::Timeout`];
    /// [`ContainerError::Runtime`] with runc's words when the command could not be started at all.
    pub async fn exec(&self, id: &ContainerId, request: &ExecRequest) -> Result<ExecOutput, ContainerError> {
        let bundle = self.running(id)?;
        exec::run(&self.conmon.runc, &self.conmon.runc_root, &bundle, request).await
    }

    /// Runs a command inside a running container for a client that talks to it. Dropping the future kills the command.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`], [`ContainerError::NotRunning`];
    /// [`ContainerError::Runtime`] with runc's words when the command could not be started at all.
    pub async fn open_session(
        &self,
        id: &ContainerId,
        request: &SessionRequest,
        client: SessionClient,
    ) -> Result<SessionEnd, ContainerError> {
        let bundle = self.running(id)?;
        session::run(&self.conmon.runc, &self.conmon.runc_root, &bundle, request, client).await
    }

    /// Connects a client with the main process of a running container; with `stdin`, what it sends goes there. Returns
    /// when either has gone.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`], [`ContainerError::NotRunning`]; [`ContainerError::Io`] when conmon cannot be
    /// reached.
    pub async fn attach(
        &self,
        id: &ContainerId,
        stdin: bool,
        client: SessionClient,
    ) -> Result<(), ContainerError> {
        attach::run(&self.running(id)?, stdin, client).await
    }

    /// Ends every command that an earlier process of ours left running in the node's containers.
    ///
    /// # Errors
    /// [`ContainerError::Io`] when the directory cannot be read.
    pub async fn end_sessions(&self) -> Result<(), ContainerError> {
        for status in self.list().await? {
            command::end_left_over(&self.bundle(&status.id));
        }
        Ok(())
    }

    /// Ends a container if it runs, and removes all of it but its log. One that does not exist is no error.
    ///
    /// # Errors
    /// Everything that could not be removed ([`ContainerError::Several`]); calling again tries the rest.
    pub async fn delete(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let bundle = self.bundle(id);
        let mut errors = Vec::new();
        if let Err(error) = self.end(&bundle).await {
            errors.push(error);
        }
        if self.conmon.runc_root.join(id.as_str()).exists()
            && let Err(error) = self.runc(["delete", "--force", id.as_str()]).await
        {
            errors.push(error);
        }
        let directory = bundle.directory.clone();
        let removed = blocking(move || {
            overlay::unmount(&directory.join("rootfs"))?;
            match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(ContainerError::io("remove", directory, error))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        });
        errors.extend(removed.await.err());
        ContainerError::collect(errors)
    }

    /// Kills the main process and waits until it and its conmon are gone.
    async fn end(&self, bundle: &Bundle) -> Result<(), ContainerError> {
        let failed = |source| ContainerError::io("kill", &bundle.directory, source);
        let conmon = bundle.conmon();
        if let Some(main) = bundle.main_process() {
            main.signal(Signal::SIGKILL).map_err(failed)?;
            if !main.ended_within(KILL_LIMIT).await.map_err(failed)? {
                return Err(ContainerError::Timeout { after: KILL_LIMIT });
            }
        } else if bundle.exit().is_none()
            && let Some(conmon) = &conmon
        {
            // Not even a main process: interrupted while being made.
            conmon.signal(Signal::SIGKILL).map_err(failed)?;
        }
        if let Some(conmon) = conmon
            && !conmon.ended_within(KILL_LIMIT).await.map_err(failed)?
        {
            return Err(ContainerError::Timeout { after: KILL_LIMIT });
        }
        Ok(())
    }

    /// Files of the container, ready for runc.
    async fn prepare(&self, bundle: &Bundle, spec: &ContainerSpec) -> Result<(), ContainerError> {
        let (images, bundle, spec) = (self.images.clone(), bundle.clone(), spec.clone());
        let cgroup = self.cgroup.container(&self.node, spec.id.as_str());
        blocking(move || {
            let lower = images.root_filesystem(&spec.image)?;
            let list = |name: &str| images.text_of(&lower, name);
            let identity = user::identity(
                &spec.image.config.user,
                &spec.run_as,
                &list("etc/passwd")?,
                &list("etc/group")?,
            )?;
            let config = bundle::oci_spec(&spec, &identity, cgroup)?;
            let path = bundle.file("config.json");
            let text =
                serde_json::to_vec(&config).map_err(|source| ContainerError::io("encode", &path, source))?;
            fs::write(&path, text).map_err(|source| ContainerError::io("write", &path, source))?;
            if let Some(parent) = spec.log_path.parent() {
                fs::create_dir_all(parent).map_err(|source| ContainerError::io("make", parent, source))?;
            }
            overlay::mount_root(&lower, &bundle.directory)
        })
        .await
    }

    /// True when runc has let the container's main process go: it removes this pipe when it does.
    fn has_run(&self, id: &ContainerId) -> bool {
        let state = self.conmon.runc_root.join(id.as_str());
        state.join("state.json").exists() && !state.join("exec.fifo").exists()
    }

    async fn runc<const N: usize>(&self, arguments: [&str; N]) -> Result<(), ContainerError> {
        let output = Command::new(&self.conmon.runc)
            .arg("--root")
            .arg(&self.conmon.runc_root)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|source| ContainerError::io("run", &self.conmon.runc, source))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(ContainerError::Runtime { message: exec::own_words(&output.stderr) })
        }
    }

    fn bundle(&self, id: &ContainerId) -> Bundle {
        Bundle { id: id.clone(), directory: self.bundles.join(id.as_str()) }
    }

    /// The container, if it has been let go and has not ended.
    fn running(&self, id: &ContainerId) -> Result<Bundle, ContainerError> {
        let bundle = self.existing(id)?;
        if bundle.started_at().is_none() || bundle.main_process().is_none() {
            return Err(ContainerError::NotRunning { id: id.clone() });
        }
        Ok(bundle)
    }

    fn existing(&self, id: &ContainerId) -> Result<Bundle, ContainerError> {
        let bundle = self.bundle(id);
        if bundle.exists() { Ok(bundle) } else { Err(ContainerError::NotFound { id: id.clone() }) }
    }
}

/// Finds a program where Debian and its administrators put programs.
fn program(name: &'static str) -> Result<PathBuf, ContainerError> {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
        .ok_or(ContainerError::MissingProgram { program: name })
}

/// Runs file system work where it blocks nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContainerError> + Send + 'static,
) -> Result<T, ContainerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Cancelled only while the async runtime shuts down, when nobody reads the answer.
        Err(error) => Err(ContainerError::Runtime { message: error.to_string() }),
    }
}
