//! Logs come from the agent of the pod's node.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use portolan_apiserver::pki::der;

use crate::fixture::{PATIENCE, Server};

/// Answers one request of a client with a certificate: the first part at once, the second when it is told to. Gives the
/// request's first line.
async fn agent(server: &Server, listener: TcpListener, go_on: oneshot::Receiver<()>) -> String {
    let pair = server.pki.node_server("node1", &["127.0.0.1".parse().unwrap()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der(server.pki.authority()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![pair.certificate_der().unwrap()], pair.key_der().unwrap())
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    _ = go_on.await;
    stream.write_all(b"7\r\nsecond\n\r\n0\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_through_the_server() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    server.kubectl("run web --image=nginx").await;
    let unscheduled = server.kubectl_fails("get --raw /api/v1/namespaces/default/pods/web/log", "").await;
    assert!(unscheduled.contains("pod web does not have a host assigned"), "{unscheduled}");
    let binding = r#"{"apiVersion":"v1","kind":"Binding","metadata":{"name":"web"},"target":{"kind":"Node","name":"node1"}}"#;
    server.kubectl_input("create --raw /api/v1/namespaces/default/pods/web/binding -f -", binding).await;
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"node1"}}"#;
    server.kubectl_input("create -f -", node).await;
    let status = format!(
        r#"-p={{"status":{{"addresses":[{{"type":"InternalIP","address":"127.0.0.1"}}],"daemonEndpoints":{{"kubeletEndpoint":{{"Port":{port}}}}}}}}}"#
    );
    server.kubectl(&format!("patch node node1 --subresource=status --type=merge {status}")).await;
    let (go_on, wait) = oneshot::channel();
    let follow = async {
        use tokio::io::AsyncBufReadExt;
        let mut child = tokio::process::Command::new("kubectl")
            .args(["logs", "-f", "--tail=5", "web"])
            .env("KUBECONFIG", &server.kubeconfig)
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
        // The first line is there while the agent still holds back the second.
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "first");
        go_on.send(()).unwrap();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "second");
        assert!(lines.next_line().await.unwrap().is_none());
        assert!(child.wait().await.unwrap().success());
    };
    let both = async { tokio::join!(agent(&server, listener, wait), follow) };
    let (line, ()) = tokio::time::timeout(PATIENCE, both).await.expect("logs in time");
    assert_eq!(line, "GET /containerLogs/default/web/web?follow=true&tailLines=5 HTTP/1.1");
    let gone = server.kubectl_fails("logs web", "").await;
    assert!(gone.contains("/containerLogs/default/web/web"), "{gone}");
}
