//! The image store from outside: archives as other tools write them, and the images that the lab brings along.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use portolan_lab::images::{Digest, ImageError, Reference, Store};
use serde_json::json;

use crate::containers::fixture::archives;

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("images")).unwrap();
    (directory, store)
}

fn reference(name: &str) -> Reference {
    Reference::parse(name).unwrap()
}

/// An OCI layout with one image of one layer, which holds one file. Returns its directory.
struct Layout {
    directory: PathBuf,
    descriptor: serde_json::Value,
}

impl Layout {
    fn new(directory: PathBuf, architecture: &str) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let content = directory.join("content");
        fs::create_dir_all(&content).unwrap();
        fs::write(content.join("file"), "hello").unwrap();
        let tar = directory.join("layer.tar");
        tool(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&content).arg("file"));
        let diff_id = Digest::of(&fs::read(&tar).unwrap());
        tool(Command::new("gzip").arg("-n").arg(&tar));
        let mut layout = Self { directory, descriptor: json!(null) };
        let layer =
            layout.blob(&fs::read(layout.directory.join("layer.tar.gz")).unwrap(), "layer.v1.tar+gzip");
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "Cmd": ["/file"], "StopSignal": "SIGQUIT", "Env": null },
            "rootfs": { "type": "layers", "diff_ids": [diff_id.as_str()] },
        });
        let config = layout.blob(config.to_string().as_bytes(), "config.v1+json");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        layout.descriptor = layout.blob(manifest.to_string().as_bytes(), "manifest.v1+json");
        layout
    }

    fn blob(&self, content: &[u8], kind: &str) -> serde_json::Value {
        let digest = Digest::of(content);
        fs::write(self.directory.join("blobs/sha256").join(digest.hex()), content).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest.as_str(), "size": content.len(),
        })
    }

    /// Writes the index with the image under this name.
    fn named(self, name: &str) -> Self {
        let mut entry = self.descriptor.clone();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        fs::write(self.directory.join("index.json"), index.to_string()).unwrap();
        self
    }
}

fn tool(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}");
}

fn machine() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

#[test]
fn a_layout_is_taken_in_as_directory_and_as_archive() {
    let (directory, store) = store();
    let layout = Layout::new(directory.path().join("layout"), machine()).named("team/app:1");
    let archive = directory.path().join("layout.tar.gz");
    tool(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&layout.directory).arg("."));

    let from_directory = store.import(&layout.directory, None).unwrap().remove(0);
    assert_eq!(from_directory.reference, reference("team/app:1"));
    assert_eq!(from_directory.config.stop_signal().0, nix::sys::signal::Signal::SIGQUIT);
    let from_archive = store.import(&archive, Some(&reference("other"))).unwrap().remove(0);
    assert_eq!(from_archive.digest, from_directory.digest);

    let names: Vec<_> = store.list().unwrap().into_iter().map(|image| image.reference).collect();
    assert_eq!(names, [reference("other"), reference("team/app:1")]);
    let by_digest = reference(&format!("team/app@{}", from_directory.digest));
    assert_eq!(store.resolve(&by_digest).unwrap().unwrap().id, from_directory.id);
    assert_eq!(store.resolve(&reference("team/app:2")).unwrap(), None);

    let tree = store.root_filesystem(&from_directory).unwrap();
    assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "hello");
    assert_eq!(store.root_filesystem(&from_archive).unwrap(), tree);
}

#[test]
fn what_is_damaged_is_refused() {
    let (directory, store) = store();
    let layout = Layout::new(directory.path().join("layout"), machine()).named("app:1");
    let manifest = layout.descriptor["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    fs::write(layout.directory.join(manifest), "{}").unwrap();
    let error = store.import(&layout.directory, None).unwrap_err();
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn what_is_no_image_or_not_for_us_is_refused() {
    let (directory, store) = store();
    for (name, content) in [("text", "no image"), ("empty", "")] {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        let error = store.import(&path, None).unwrap_err();
        assert!(matches!(error, ImageError::NotAnImage { .. }), "{name}: {error}");
    }
    let error = store.import(Path::new("/no/such/file"), None).unwrap_err();
    assert!(matches!(error, ImageError::Io { .. }), "{error}");

    let foreign = Layout::new(directory.path().join("foreign"), "s390x").named("app:1");
    let error = store.import(&foreign.directory, None).unwrap_err();
    assert!(matches!(error, ImageError::NoSuchPlatform { .. }), "{error}");

    let unnamed = Layout::new(directory.path().join("unnamed"), machine()).named("latest");
    let error = store.import(&unnamed.directory, None).unwrap_err();
    assert!(matches!(error, ImageError::Unnamed { .. }), "{error}");
    store.import(&unnamed.directory, Some(&reference("app"))).unwrap();
}

#[test]
fn blobs_of_a_layout_cannot_be_links_out_of_it() {
    let (directory, store) = store();
    let layout = Layout::new(directory.path().join("layout"), machine()).named("app:1");
    let name = layout.descriptor["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let outside = directory.path().join("outside");
    fs::rename(layout.directory.join(&name), &outside).unwrap();
    std::os::unix::fs::symlink(&outside, layout.directory.join(&name)).unwrap();
    assert!(store.import(&layout.directory, None).is_err());
}

#[test]
fn importing_anew_moves_the_name() {
    let (directory, store) = store();
    let one = Layout::new(directory.path().join("one"), machine()).named("app:1");
    let first = store.import(&one.directory, None).unwrap().remove(0);
    let second = store.import(&archives().join("busybox.tar"), Some(&reference("app:1"))).unwrap().remove(0);
    assert_ne!(first.digest, second.digest);
    assert_eq!(store.list().unwrap(), [second]);
}

#[test]
fn many_may_write_at_once() {
    let (directory, _store) = store();
    let path = directory.path().join("images");
    let unpacked = std::thread::scope(|scope| {
        let workers: Vec<_> = ["one", "two", "three", "four"]
            .map(|name| {
                let path = &path;
                scope.spawn(move || {
                    let store = Store::open(path).unwrap();
                    let image =
                        store.import(&archives().join("busybox.tar"), Some(&reference(name))).unwrap();
                    store.root_filesystem(&image[0]).unwrap()
                })
            })
            .into();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(unpacked.len(), 1);
    assert_eq!(Store::open(&path).unwrap().list().unwrap().len(), 4);
}

/// Serves a layout as the registry `127.0.0.1:<port>` with the repository `app`: its tag `1` is an index that names
/// the image beside one for another machine. Ends with the test's runtime. Returns the port.
async fn registry(layout: Layout) -> u16 {
    let ours = layout.descriptor.clone();
    let mut foreign = layout.blob(b"{}", "manifest.v1+json");
    foreign["platform"] = json!({ "os": "linux", "architecture": "s390x" });
    let mut entry = ours;
    entry["platform"] = json!({ "os": "linux", "architecture": machine() });
    let index = json!({ "schemaVersion": 2, "manifests": [foreign, entry] }).to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = move |path: &str| match path.rsplit('/').next().unwrap() {
        "" => Some(Vec::new()),
        "1" => Some(index.clone().into_bytes()),
        digest => fs::read(layout.directory.join("blobs").join(digest.replace(':', "/"))).ok(),
    };
    tokio::spawn(async move {
        let answer = &answer;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(async |request: Request<Incoming>| {
                let known = answer(request.uri().path());
                let status = if known.is_some() { 200 } else { 404 };
                let response = Response::builder().status(status).header("content-type", INDEX_TYPE);
                response.body(Full::new(Bytes::from(known.unwrap_or_default())))
            });
            let connection =
                http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
            // A client that hangs up is no failure of the registry.
            let _ = connection.await;
        }
    });
    port
}

#[tokio::test]
async fn an_image_for_many_machines_is_pulled_for_this_one() {
    // Another test may have been first; one provider is as good as the other.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (directory, store) = store();
    let layout = Layout::new(directory.path().join("layout"), machine());
    let digest = layout.descriptor["digest"].as_str().unwrap().to_owned();
    let port = registry(layout).await;

    let name = reference(&format!("127.0.0.1:{port}/app:1"));
    let image = store.pull(&name).await.unwrap();
    assert_eq!(image.digest.as_str(), digest);
    assert_eq!(store.resolve(&name).unwrap().unwrap(), image);
    let tree = store.root_filesystem(&image).unwrap();
    assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "hello");

    let missing = store.pull(&reference(&format!("127.0.0.1:{port}/app:2"))).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_said_so() {
    // Another test may have been first; one provider is as good as the other.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_directory, store) = store();
    // Port 9 on the own machine: nobody listens, and the Internet is not asked.
    let error = store.pull(&reference("127.0.0.1:9/app:1")).await.unwrap_err();
    assert!(matches!(error, ImageError::Pull { .. }), "{error}");
    assert!(!error.is_not_found());
    assert!(error.to_string().contains("127.0.0.1:9/app:1"), "{error}");
}
