//! The `proxy` subresource, as far as it goes without a pod that answers.

use crate::fixture::Server;

const WEB: &str = r#"
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: [{
  addresses: [{ip: 192.0.2.1}], ports: [{name: http, port: 80}]}]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_named() {
    let server = Server::start().await;
    server.kubectl("run web --image=nginx").await;
    server.kubectl_input("apply -f -", WEB).await;
    for (path, answer) in [
        ("pods/web/proxy", "address not allowed"),
        ("pods/missing:80/proxy/", "pods \"missing\" not found"),
        ("pods/ftp:web:21/proxy/", "invalid pod request \"ftp:web:21\""),
        ("services/missing/proxy/", "endpoints \"missing\" not found"),
        ("services/missing:80/proxy/", "services \"missing\" not found"),
        ("services/web:81/proxy/", "no service port 81 found for service \"web\""),
        ("services/web:other/proxy/", "no endpoints available for service \"web:other\""),
        // Addresses that nobody vouches for are not asked in the caller's name.
        ("services/web:80/proxy/", "no endpoints available for service \"web:80\""),
    ] {
        let refused = server.kubectl_fails(&format!("get --raw=/api/v1/namespaces/default/{path}"), "").await;
        assert!(refused.contains(answer), "{path}: {refused}");
    }
    let status = serde_json::json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    server.kubectl(&format!("patch pod web --subresource=status --type=merge -p={status}")).await;
    let own = "get --raw=/api/v1/namespaces/default/pods/web:6443/proxy/";
    let refused = server.kubectl_fails(own, "").await;
    assert!(refused.contains("address not allowed"), "{refused}");
}
