//! Audit lines of what kubectl and others do.

use std::path::{Path, PathBuf};

use portolan_apiserver::AuditConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{PATIENCE, Server};
use crate::security::{connect, exchange};

async fn audited() -> (Server, TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let audit = AuditConfig { path: path.clone(), max_size: 100 << 20, max_backups: 1 };
    let server = Server::start_with(|config| config.audit = Some(audit)).await;
    (server, folder, path)
}

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    // The last line may just be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events, once there is one that is wanted.
async fn until(path: &Path, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let events = events(path);
        if events.iter().any(&wanted) {
            return events;
        }
        assert!(tokio::time::Instant::now() < deadline, "not among {events:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// `verb resource/subresource namespace/name code [reason]`.
fn shown(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let part = text("/objectRef/subresource");
    let part = if part.is_empty() { part } else { format!("/{part}") };
    let (verb, resource) = (text("/verb"), text("/objectRef/resource"));
    let (namespace, name) = (text("/objectRef/namespace"), text("/objectRef/name"));
    let (code, reason) = (&event["responseStatus"]["code"], text("/responseStatus/reason"));
    format!("{verb} {resource}{part} {namespace}/{name} {code} {reason}").trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_leaves_a_line_for_every_change_and_none_for_what_it_reads() {
    let (server, _folder, path) = audited().await;
    for line in [
        "create configmap one --from-literal=a=b",
        "get configmaps",
        "label configmap one x=y",
        "annotate --dry-run=server configmap one x=y",
        "create serviceaccount robot",
        "create token robot",
        "delete configmap one",
        "delete configmaps --all -n kube-public",
    ] {
        server.kubectl(line).await;
    }
    let generated = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "some-"}}"#;
    let made = server.kubectl_input("create -o name -f -", generated).await;
    let applied = r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}"#;
    server.kubectl_input("apply --server-side -f -", applied).await;
    server.kubectl_fails("create namespace default", "").await;
    server.kubectl_fails("create configmap UPPER", "").await;
    server.kubectl_fails("delete node n --as ann --as-group team", "").await;
    let bound = "create rolebinding editors --clusterrole edit --user bob";
    server.kubectl(bound).await;
    server.kubectl("create configmap his --as bob").await;
    server.kubectl_fails("create configmap not-his -n kube-system --as bob", "").await;
    server.kubectl_fails("exec no-pod -- true", "").await;

    let lines = until(&path, |event| shown(event).contains("kube-system/")).await;
    let shown: Vec<String> = lines.iter().map(shown).collect();
    let expected = [
        "create configmaps default/one 201",
        "patch configmaps default/one 200",
        "patch configmaps default/one 200",
        "create serviceaccounts default/robot 201",
        "create serviceaccounts/token default/robot 201",
        "delete configmaps default/one 200",
        &format!("create configmaps default/{} 201", made.trim().trim_start_matches("configmap/")),
        "patch secrets default/s 201",
        "create namespaces /default 409 AlreadyExists",
        "create configmaps default/UPPER 422 Invalid",
        "delete nodes /n 403 Forbidden",
        "create rolebindings default/editors 201",
        "create configmaps default/his 201",
        "create configmaps kube-system/ 403 Forbidden",
    ];
    assert_eq!(shown, expected);
    assert!(lines.iter().all(|event| event["sourceIPs"] == serde_json::json!(["127.0.0.1"])));
    assert!(lines.iter().all(|event| event["userAgent"].as_str().unwrap().starts_with("kubectl")));
    assert!(lines.iter().all(|event| event["user"]["username"] == "kubernetes-admin"));
    let of = |number: usize| &lines[number];
    assert!(of(2)["requestURI"].as_str().unwrap().contains("dryRun=All"), "{}", of(2));
    let nobody = of(10);
    assert_eq!(nobody["impersonatedUser"]["username"], "ann");
    assert_eq!(nobody["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert!(nobody["responseStatus"]["message"].as_str().unwrap().contains("cannot delete"), "{nobody}");
    let reason = of(12)["annotations"]["authorization.k8s.io/reason"].as_str().unwrap();
    assert_eq!(
        reason,
        r#"RBAC: allowed by RoleBinding "editors/default" of ClusterRole "edit" to User "bob""#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_bad_tokens_and_those_who_hang_up_leave_lines() {
    let (server, _folder, path) = audited().await;
    let admin = server.admin();
    let head = "Host: x\r\nConnection: close\r\n";
    let stranger = format!("DELETE /api/v1/nodes/a HTTP/1.1\r\n{head}Audit-ID: my-own\r\n\r\n");
    let answer = exchange(&server, None, stranger.as_bytes()).await.unwrap();
    assert!(answer.to_lowercase().contains("audit-id: my-own\r\n"), "{answer}");
    let token = format!("DELETE /api/v1/nodes/b HTTP/1.1\r\n{head}Authorization: Bearer nonsense\r\n\r\n");
    exchange(&server, None, token.as_bytes()).await.unwrap();
    let post = format!("POST /nothing/c HTTP/1.1\r\n{head}Content-Length: 0\r\n\r\n");
    exchange(&server, Some(&admin), post.as_bytes()).await.unwrap();
    // The server says that it goes on when it is at work; then the caller goes, with or without having said all.
    let body = br#"{"metadata": {"name": "d"}}"#;
    for sent in [&body[..9], body] {
        let length = body.len();
        let head = format!("POST /api/v1/nodes HTTP/1.1\r\n{head}Content-Length: {length}\r\n");
        let mut stream = connect(&server, Some(&admin)).await.unwrap();
        stream.write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
        let mut said = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut said).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let code = if sent == body { 201 } else { 400 };
        until(&path, |event| {
            event["requestURI"] == "/api/v1/nodes" && event["responseStatus"]["code"] == code
        })
        .await;
    }
    let events = events(&path);
    let shown: Vec<String> = events.iter().map(shown).collect();
    let expected = [
        "delete nodes /a 403 Forbidden",
        "delete nodes /b 401 Unauthorized",
        "post  / 404",
        "create nodes / 400 BadRequest",
        "create nodes /d 201",
    ];
    assert_eq!(shown, expected);
    assert_eq!(events[0]["user"]["username"], "system:anonymous");
    assert_eq!(events[0]["auditID"], "my-own");
    assert_eq!(events[1]["user"], serde_json::json!({}));
    assert_eq!(events[2]["requestURI"], "/nothing/c");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_when_the_folder_is_gone() {
    let (server, folder, path) = audited().await;
    server.kubectl("create configmap one").await;
    until(&path, |event| shown(event) == "create configmaps default/one 201").await;
    std::fs::remove_dir_all(folder.path()).unwrap();
    server.kubectl("create configmap two").await;
    std::fs::create_dir(folder.path()).unwrap();
    server.kubectl("create configmap three").await;
    until(&path, |event| shown(event) == "create configmaps default/three 201").await;
}
