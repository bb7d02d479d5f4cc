use std::fs;
use std::path::Path;

use http::{Method, Request};
use serde_json::{Value, json};

use super::file::RotatedFile;
use super::log::AuditLog;
use super::*;
use crate::access::{Attributes, Decision, User};
use crate::http::{Peer, Query};
use crate::status::Status;

fn config(folder: &Path) -> AuditConfig {
    AuditConfig { path: folder.join("audit.log"), max_size: 100, max_backups: 2 }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn attributes(method: &Method, uri: &str) -> Attributes {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    Attributes::of(method, path, &Query::parse(query))
}

fn request(uri: &str) -> Request<()> {
    let mut request = Request::builder().uri(uri).header("user-agent", "kubectl/v1.32").body(()).unwrap();
    request.extensions_mut().insert(Peer("192.0.2.7".parse().unwrap()));
    request
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn changes_are_told_and_readings_are_not() {
    for (method, uri, expected) in [
        (Method::GET, "/api/v1/namespaces/a/pods", false),
        (Method::GET, "/api/v1/namespaces/a/pods?watch=true", false),
        (Method::GET, "/api/v1/namespaces/a/pods/b", false),
        (Method::GET, "/api/v1/namespaces/a/pods/b/log", false),
        (Method::GET, "/healthz", false),
        (Method::POST, "/api/v1/namespaces/a/pods", true),
        (Method::PUT, "/api/v1/namespaces/a/pods/b/status", true),
        (Method::PATCH, "/api/v1/namespaces/a/pods/b", true),
        (Method::DELETE, "/api/v1/namespaces/a/pods/b", true),
        (Method::DELETE, "/api/v1/namespaces/a/pods", true),
        (Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token", true),
        (Method::GET, "/api/v1/namespaces/a/pods/b/exec?command=sh", true),
        (Method::GET, "/api/v1/namespaces/a/pods/b/portforward", true),
        (Method::GET, "/api/v1/namespaces/a/services/b/proxy/x", true),
        (Method::POST, "/healthz", true),
    ] {
        assert_eq!(is_change(&attributes(&method, uri)), expected, "{method} {uri}");
    }
}

#[test]
fn a_line_is_an_event_of_the_level_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_size: 1 << 20, ..config(folder.path()) };
    let log = AuditLog::open(&config).unwrap();
    let uri = "/apis/apps/v1/namespaces/a/deployments?dryRun=All";
    let observed = Observed::begin(&log, &request(uri), &attributes(&Method::POST, uri));
    let groups = vec!["system:authenticated".to_owned()];
    observed.caller(&User { name: "ann".to_owned(), groups, ..User::default() });
    observed.impersonated(&User { name: "bob".to_owned(), uid: "7".to_owned(), ..User::default() });
    observed.decided(&Decision { allowed: true, reason: "RBAC: allowed".to_owned() });
    observed.named("web");
    observed.answered(&Err(Status::already_exists("apps", "deployments", "web")));
    // Only the first answer counts: a change may end after its caller was told that it takes too long.
    observed.answered(&Err(Status::unauthorized()));
    log.close();
    let mut line = lines(&config.path).remove(0);
    assert_eq!(lines(&config.path).len(), 1);
    let map = line.as_object_mut().unwrap();
    for time in ["requestReceivedTimestamp", "stageTimestamp"] {
        let text = map.remove(time).unwrap().as_str().unwrap().to_owned();
        assert!(text.len() == "2026-01-02T03:04:05.000006Z".len() && text.ends_with('Z'), "{time}: {text}");
    }
    assert_eq!(map.remove("auditID").unwrap().as_str().unwrap().len(), 36);
    let expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
        "requestURI": uri, "verb": "create",
        "user": {"username": "ann", "groups": ["system:authenticated"]},
        "impersonatedUser": {"username": "bob", "uid": "7"},
        "sourceIPs": ["192.0.2.7"], "userAgent": "kubectl/v1.32",
        "objectRef": {"resource": "deployments", "namespace": "a", "name": "web", "apiGroup": "apps", "apiVersion": "v1"},
        "responseStatus": {
            "metadata": {}, "status": "Failure", "reason": "AlreadyExists", "code": 409,
            "message": "deployments.apps \"web\" already exists",
        },
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC: allowed"},
    });
    assert_eq!(line, expected);
}

#[test]
fn callers_that_hang_up_leave_a_line_and_may_choose_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_size: 1 << 20, ..config(folder.path()) };
    let log = AuditLog::open(&config).unwrap();
    let attributes = attributes(&Method::DELETE, "/api/v1/nodes/n");
    let long = "x".repeat(65);
    for id in ["mine", "with space", long.as_str()] {
        let mut request = request("/api/v1/nodes/n");
        request.headers_mut().insert("audit-id", id.parse().unwrap());
        drop(Observed::begin(&log, &request, &attributes));
    }
    log.close();
    let lines = lines(&config.path);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["auditID"], "mine");
    assert!(lines[1..].iter().all(|line| line["auditID"].as_str().unwrap().len() == 36), "{lines:?}");
    assert!(lines.iter().all(|line| line.get("responseStatus").is_none()), "{lines:?}");
}

#[test]
fn files_are_put_aside_by_size_and_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    for other in ["audit-notes.log", "audit-2026-01-02.log", "audit.log.1"] {
        fs::write(folder.path().join(other), "not ours").unwrap();
    }
    let config = config(folder.path());
    let mut file = RotatedFile::open(&config).unwrap();
    for number in 0..8 {
        // Two fit, three do not.
        file.append(format!("{number}{}\n", "-".repeat(48)).as_bytes()).unwrap();
    }
    let found = names(folder.path());
    assert_eq!(found.len(), 3 + 2 + 1, "{found:?}");
    assert!(found.iter().any(|name| name == "audit-notes.log"), "{found:?}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let aside: Vec<String> = found.iter().filter(|name| name.len() > 30).map(|name| read(name)).collect();
    let first: Vec<&str> = aside.iter().map(|text| &text[..1]).collect();
    assert_eq!(first, ["2", "4"]);
    assert!(aside.iter().all(|text| text.len() == 100), "{aside:?}");
    assert_eq!(read("audit.log").lines().count(), 2);
    drop(file);
    let mut kept = RotatedFile::open(&AuditConfig { max_backups: 0, ..config }).unwrap();
    for _ in 0..4 {
        kept.append(&[b'+'; 100]).unwrap();
    }
    assert_eq!(names(folder.path()).len(), found.len() + 4, "none is removed");
}

#[test]
fn a_file_that_is_moved_or_removed_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let config = config(&inner);
    let mut file = RotatedFile::open(&config).unwrap();
    file.append(b"one\n").unwrap();
    fs::rename(&config.path, inner.join("moved")).unwrap();
    file.append(b"two\n").unwrap();
    assert_eq!(fs::read_to_string(&config.path).unwrap(), "two\n");
    fs::remove_dir_all(&inner).unwrap();
    assert_eq!(file.append(b"three\n").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    fs::create_dir(&inner).unwrap();
    file.append(b"four\n").unwrap();
    assert_eq!(fs::read_to_string(&config.path).unwrap(), "four\n");
    fs::write(&config.path, "half of a li").unwrap();
    drop(file);
    RotatedFile::open(&config).unwrap().append(b"five\n").unwrap();
    assert_eq!(fs::read_to_string(&config.path).unwrap(), "half of a li\nfive\n");
}

#[test]
fn a_full_disk_loses_whole_batches_only() {
    let full = AuditConfig { path: "/dev/full".into(), max_size: 100, max_backups: 0 };
    let mut file = RotatedFile::open(&full).unwrap();
    for _ in 0..2 {
        assert_eq!(file.append(b"x\n").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
    let log = AuditLog::open(&full).unwrap();
    let attributes = attributes(&Method::DELETE, "/api/v1/nodes/n");
    for _ in 0..20 {
        Observed::begin(&log, &request("/api/v1/nodes/n"), &attributes)
            .answered(&Err(Status::unauthorized()));
    }
    log.close();
}

#[test]
fn where_nothing_can_be_written_the_start_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { path: folder.path().join("none/audit.log"), ..config(folder.path()) };
    let said = AuditLog::open(&config).unwrap_err().to_string();
    assert!(said.contains("none/audit.log: name a file in a folder that exists"), "{said}");
}

#[test]
fn without_a_place_in_the_queue_lines_are_counted_and_nobody_waits() {
    let (log, waiting) = AuditLog::unread(3);
    let attributes = attributes(&Method::DELETE, "/api/v1/nodes/n");
    for _ in 0..5 {
        Observed::begin(&log, &request("/api/v1/nodes/n"), &attributes)
            .answered(&Err(Status::unauthorized()));
    }
    assert_eq!(log.dropped(), 2);
    drop(waiting);
}
