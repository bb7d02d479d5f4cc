//! Volumes, and everything that a container is started with.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;

use super::outcome::Outcome;
use super::{Settings, Work, Worker};
use crate::pods::adopt::container_id;
use crate::pods::environment::{Addresses, Expanded, Given, expand};
use crate::pods::facts::SandboxFacts;
use crate::pods::files;
use crate::pods::names::Surroundings;
use crate::pods::objects::{ObjectNames, Objects};
use crate::pods::ports::{ContainerRequest, Failure, Ports, ResolvedImage, StartFailure, StartStage};
use crate::pods::record::PodDirectory;
use crate::pods::spec::{ContainerSpec, PodSpec, SubPath};
use crate::pods::volumes;

/// The most that is read of a container's last words, in bytes, as in the kubelet.
const MESSAGE: usize = 4096;

/// A container about to be started: copies, since the pod may change meanwhile.
struct Start {
    pod: PodSpec,
    container: ContainerSpec,
    id: String,
    attempt: u32,
    image: ResolvedImage,
    sandbox: SandboxFacts,
    directory: PodDirectory,
    settings: Arc<Settings>,
}

impl Worker {
    pub(super) fn begin_volumes(&self) -> Work {
        let (pod, directory) = (self.spec.clone(), self.directory.clone());
        let (objects, capacity) = (Arc::clone(&self.ports.objects), self.settings.capacity);
        async move {
            let mut names = ObjectNames::new();
            pod.volumes.iter().for_each(|volume| volume.objects(&pod, &mut names));
            let came = match read(&*objects, &pod, names).await {
                Ok(objects) => {
                    let work = move || volumes::set_up(&pod, &directory, &objects, capacity);
                    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
                }
                Err(error) => Err(error.message),
            };
            Outcome::VolumesSetUp(came.map_err(|message| Failure { message }))
        }
        .boxed()
    }

    pub(super) fn begin_start(&mut self, name: String, attempt: u32) -> Work {
        let known = self.facts.container_mut(&name);
        known.start_begins(attempt);
        let image = known.image.clone();
        let id = container_id(&self.spec.uid, &name, attempt);
        if let Some(old) = attempt.checked_sub(2) {
            // `kubectl logs --previous` reads the run before this one; older logs nobody can ask for.
            let _ = std::fs::remove_file(self.directory.log(&name, old));
        }
        let start = match (self.spec.container(&name), image, self.facts.sandbox.facts()) {
            (Some(container), Some(image), Some(sandbox)) => Some(Start {
                pod: self.spec.clone(),
                container: container.clone(),
                id: id.clone(),
                attempt,
                image,
                sandbox: sandbox.clone(),
                directory: self.directory.clone(),
                settings: Arc::clone(&self.settings),
            }),
            _ => None,
        };
        let ports = self.ports.clone();
        async move {
            let came = match start {
                Some(start) => match start.request(&ports).await {
                    Ok(request) => ports.containers.start(request).await,
                    Err(failure) => Err(failure),
                },
                // The plan starts containers of the manifest, with their image, in a sandbox that is up.
                None => Err(StartFailure {
                    stage: StartStage::Create,
                    message: "the pod changed while its container was being started".to_owned(),
                }),
            };
            Outcome::Started { container: name, id, came }
        }
        .boxed()
    }

    /// The last words of the container's current run.
    pub(super) fn last_words(&self, container: &str, failed: bool) -> String {
        let Some(spec) = self.spec.container(container) else { return String::new() };
        let attempt = self.facts.containers.get(container).map_or(0, |known| known.attempts);
        let written = std::fs::read(self.directory.message(container, attempt)).unwrap_or_default();
        let text = String::from_utf8_lossy(&written[..written.len().min(MESSAGE)]).into_owned();
        let falls_back = spec.message.policy == crate::pods::spec::MessagePolicy::FallbackToLogsOnError;
        if text.is_empty() && falls_back && failed {
            return files::log_tail(&self.directory.log(container, attempt));
        }
        text
    }
}

async fn read(
    source: &dyn crate::pods::ports::ObjectSource,
    pod: &PodSpec,
    names: ObjectNames,
) -> Result<Objects, Failure> {
    if names.is_empty() {
        return Ok(Objects::default());
    }
    source.read(pod.namespace.clone(), names).await
}

impl Start {
    async fn request(self, ports: &Ports) -> Result<ContainerRequest, StartFailure> {
        let at = |stage| move |message: String| StartFailure { stage, message };
        let objects = read(&*ports.objects, &self.pod, self.container.objects()).await;
        let objects = objects.map_err(|error| at(StartStage::Config)(error.message))?;
        let services = &self.settings.services;
        let given = Given {
            services: &services.variables(&self.pod.namespace, self.pod.service_links).await,
            addresses: Addresses { pod: self.sandbox.address, host: self.settings.host },
            objects: &objects,
            capacity: self.settings.capacity,
        };
        let process = Expanded::of(&self.container, &self.pod, given).map_err(at(StartStage::Config))?;
        let mut binds = self.pod_files().map_err(|error| at(StartStage::Create)(error.to_string()))?;
        binds.extend(self.mounts(&process).map_err(at(StartStage::Config))?);
        binds.push(self.message_file().map_err(|error| at(StartStage::Create)(error.to_string()))?);
        Ok(ContainerRequest {
            id: self.id,
            process,
            image: self.image,
            pause: self.sandbox.pause,
            log: self.directory.log(&self.container.name, self.attempt),
            spec: self.container,
            binds,
            host_network: self.pod.host_network,
        })
    }

    /// Writes the files that containers of the pod see and says where they see them.
    fn pod_files(&self) -> std::io::Result<Vec<Bind>> {
        let (pod, settings) = (&self.pod, &self.settings);
        let hostname = &pod.hostname;
        let around = Surroundings {
            server: settings.dns_server,
            domain: &settings.dns_domain,
            namespace: &pod.namespace,
            of_node: &std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        let contents = [
            ("hosts", pod.names.hosts(hostname, self.sandbox.address, around)),
            ("hostname", format!("{hostname}\n")),
            ("resolv.conf", pod.names.resolv_conf(around)),
        ];
        let mut binds = Vec::new();
        for (name, content) in contents {
            let path = self.directory.file(name);
            // Never replaced while containers see it: they see the file, not its name.
            if std::fs::read(&path).ok().as_deref() != Some(content.as_bytes()) {
                std::fs::write(&path, content)?;
            }
            binds.push((path, format!("/etc/{name}"), false));
        }
        Ok(binds)
    }

    fn mounts(&self, process: &Expanded) -> Result<Vec<Bind>, String> {
        let known = process.environment.iter().cloned().collect();
        let mut binds = Vec::new();
        for mount in &self.container.mounts {
            let volume = self.pod.volumes.iter().find(|volume| volume.name == mount.volume);
            let Some(volume) = volume else { return Err(format!("volume {:?} not found", mount.volume)) };
            let whole = volumes::path(volume, &self.directory);
            let path = match &mount.sub_path {
                None => whole,
                Some(SubPath::Fixed(path)) => volumes::sub_path(&whole, path)?,
                Some(SubPath::Expanded(path)) => volumes::sub_path(&whole, &expand(path, &known))?,
            };
            // What the agent writes nobody else does.
            binds.push((path, mount.path.clone(), mount.read_only || volume.is_refreshed()));
        }
        Ok(binds)
    }

    /// An empty file for the container's last words.
    fn message_file(&self) -> std::io::Result<Bind> {
        let path = self.directory.message(&self.container.name, self.attempt);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, "")?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        if let Some(old) = self.attempt.checked_sub(1) {
            let _ = std::fs::remove_file(self.directory.message(&self.container.name, old));
        }
        Ok((path, self.container.message.path.clone(), false))
    }
}

/// Host path, path inside, read-only.
type Bind = (PathBuf, String, bool);
