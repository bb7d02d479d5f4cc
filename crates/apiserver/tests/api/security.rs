//! Who may call, and what the wire bears.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use portolan_apiserver::pki::{Credentials, Pki, der};

use crate::fixture::{PATIENCE, Server};

/// A connection; an error when the server refuses the credentials at once.
pub async fn connect(
    server: &Server,
    credentials: Option<&Credentials>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(der(server.pki.authority()).unwrap()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match credentials {
        Some(pair) => builder
            .with_client_auth_cert(vec![pair.certificate_der().unwrap()], pair.key_der().unwrap())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(server.address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::IpAddress(server.address.ip().into()), stream)
        .await
}

/// One request over a connection of its own; the answer as text. `None` when the connection is refused.
pub async fn exchange(server: &Server, credentials: Option<&Credentials>, request: &[u8]) -> Option<String> {
    let mut answer = Vec::new();
    let work = async {
        let mut stream = connect(server, credentials).await?;
        stream.write_all(request).await?;
        stream.read_to_end(&mut answer).await
    };
    let done = tokio::time::timeout(PATIENCE, work).await.expect("an answer in time");
    // A connection may be cut after the answer; without one it was refused.
    if done.is_err() && answer.is_empty() {
        None
    } else {
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

pub fn code(answer: &str) -> u16 {
    answer.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_see_health_and_version_only() {
    let server = Server::start().await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(code(&exchange(&server, None, &get(path)).await.unwrap()), 200, "{path}");
    }
    for path in ["/api", "/api/v1/pods", "/apis", "/nothing", "/openapi/v3", "/readyz/store"] {
        let answer = exchange(&server, None, &get(path)).await.unwrap();
        assert_eq!(code(&answer), 403, "{path}");
        assert!(answer.contains(r#"User \"system:anonymous\" cannot"#), "{answer}");
    }
    let folder = tempfile::tempdir().unwrap();
    let other = Pki::open(folder.path()).unwrap().client("admin", "admin", "system:masters").unwrap();
    assert_eq!(exchange(&server, Some(&other), &get("/api")).await, None, "another authority's certificate");
}

/// A caller that hangs up in the middle leaves either nothing, or an object whose address is taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_keeps_its_address_whenever_the_caller_hangs_up() {
    let server = Server::start().await;
    let admin = server.pki.client("admin", "kubernetes-admin", "system:masters").unwrap();
    let post = |name: &str, number: usize| {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}{number}"}},"spec":{{"clusterIP":"10.96.7.{number}","ports":[{{"port":80}}]}}}}"#
        );
        let path = "/api/v1/namespaces/default/services";
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    for number in 0..60 {
        let mut stream = connect(&server, Some(&admin)).await.unwrap();
        stream.write_all(&post("a", number)).await.unwrap();
        // Some connections end before the server has read the request, some while it is at work.
        for _ in 0..number % 6 {
            tokio::task::yield_now().await;
        }
        drop(stream);
    }
    let mut second = String::new();
    for number in 0..60 {
        let mut request = post("b", number);
        let head = b"Connection: close\r\n";
        let at = request.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 2;
        request.splice(at..at, head.iter().copied());
        second.push_str(&exchange(&server, Some(&admin), &request).await.unwrap());
    }
    let listed = server.kubectl("get services -o jsonpath={.items[*].spec.clusterIP}").await;
    let addresses: Vec<&str> = listed.split_whitespace().collect();
    let distinct: std::collections::BTreeSet<&str> = addresses.iter().copied().collect();
    assert_eq!(addresses.len(), distinct.len(), "{listed}");
    assert!(second.contains("already allocated"), "some of the first 60 were stored");
}
