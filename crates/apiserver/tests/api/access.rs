//! Who may do what: roles, bindings, impersonation, as kubectl shows them.

use serde_json::Value;

use crate::fixture::Server;

const ANN: &str = "--as=ann";

#[tokio::test(flavor = "multi_thread")]
async fn rights_come_and_go_with_bindings() {
    let server = Server::start().await;
    server.kubectl("create namespace team").await;
    let refused = server.kubectl_fails(&format!("get services {ANN}"), "").await;
    assert!(
        refused.contains(
            r#"Error from server (Forbidden): services is forbidden: User "ann" cannot list resource "services" in API group "" in the namespace "default""#
        ),
        "{refused}"
    );
    let nodes = server.kubectl_fails(&format!("get nodes {ANN}"), "").await;
    assert!(
        nodes.contains(r#"cannot list resource "nodes" in API group "" at the cluster scope"#),
        "{nodes}"
    );

    // What is bound counts with the next request, and no longer with the one after it is gone.
    server.kubectl("create rolebinding ann --clusterrole=view --user=ann -n team").await;
    server.kubectl(&format!("get services -n team {ANN}")).await;
    server.kubectl_fails(&format!("get services {ANN}"), "").await;
    server.kubectl_fails(&format!("get services -A {ANN}"), "").await;
    server.kubectl("delete rolebinding ann -n team").await;
    server.kubectl_fails(&format!("get services -n team {ANN}"), "").await;

    server.kubectl("create role pods --verb=get,list --resource=pods,pods/log -n team").await;
    server.kubectl("create rolebinding pods --role=pods --group=devs -n team").await;
    server.kubectl(&format!("get pods -n team {ANN} --as-group=devs")).await;
    server.kubectl_fails(&format!("get services -n team {ANN} --as-group=devs"), "").await;
    let table = server.kubectl("get rolebindings -n team -o wide").await;
    assert!(table.contains("ROLE") && table.contains("Role/pods") && table.contains("devs"), "{table}");
    let described = server.kubectl("describe role pods -n team").await;
    assert!(described.contains("pods/log") && described.contains("[get list]"), "{described}");
    let fixed = r#"patch rolebinding pods -n team -p {"roleRef":{"name":"other"}}"#;
    assert!(server.kubectl_fails(fixed, "").await.contains("cannot change roleRef"));
}

/// The roles that people are given, each verb on what they work with.
#[tokio::test(flavor = "multi_thread")]
async fn admin_edit_and_view_are_what_they_are_in_kubernetes() {
    let server = Server::start().await;
    for role in ["admin", "edit", "view"] {
        server.kubectl(&format!("create rolebinding {role} --clusterrole={role} --user={role}")).await;
    }
    // The command, and who may.
    let commands = [
        ("get pods", "admin edit view"),
        ("get configmaps", "admin edit view"),
        ("get secrets", "admin edit"),
        ("get deployments", "admin edit view"),
        ("get networkpolicies", "admin edit view"),
        ("get roles", "admin"),
        ("get nodes", ""),
        ("get pods -A", ""),
        ("get clusterroles", ""),
        ("create configmap x --dry-run=server", "admin edit"),
        ("create secret generic x --dry-run=server", "admin edit"),
        ("create deployment x --image=y --dry-run=server", "admin edit"),
        ("create serviceaccount x --dry-run=server", "admin edit"),
        ("create rolebinding x --clusterrole=view --user=y --dry-run=server", "admin"),
        ("create namespace x --dry-run=server", ""),
        ("get namespace default", "admin edit view"),
        ("delete namespace default --dry-run=server", ""),
        ("delete pod web", "admin edit"),
        ("create clusterrolebinding x --clusterrole=view --user=y --dry-run=server", ""),
    ];
    for (command, who) in commands {
        for role in ["admin", "edit", "view"] {
            let output = server.kubectl_with(&format!("{command} --as={role}"), "").await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if who.split(' ').any(|allowed| allowed == role) {
                let gone = said.contains("NotFound");
                assert!(output.status.success() || gone, "{command} as {role}: {said}");
            } else {
                assert!(said.contains("is forbidden: User"), "{command} as {role}: {said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_more_than_they_hold() {
    let server = Server::start().await;
    server.kubectl("create rolebinding boss --clusterrole=admin --user=boss").await;
    let grant = |words: &str| format!("create {words} --as=boss");
    server.kubectl(&grant("role reader --verb=get --resource=pods")).await;
    let refused = server.kubectl_fails(&grant("role nodes --verb=get,list --resource=nodes"), "").await;
    assert!(
        refused.contains(
            r#"roles.rbac.authorization.k8s.io "nodes" is forbidden: user "boss" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:"#
        ) && refused.contains(r#"{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}"#),
        "{refused}"
    );
    let bind = |role: &str| grant(&format!("rolebinding {role} --clusterrole={role} --user=ann"));
    server.kubectl(&bind("edit")).await;
    let refused = server.kubectl_fails(&bind("cluster-admin"), "").await;
    assert!(refused.contains("not currently held"), "{refused}");
    let unknown = server.kubectl_fails(&bind("nothing"), "").await;
    assert!(unknown.contains(r#"clusterroles.rbac.authorization.k8s.io "nothing" not found"#), "{unknown}");
    // The right to bind one role, whatever is in it.
    server.kubectl("create role binder --verb=bind --resource=clusterroles.rbac.authorization.k8s.io --resource-name=cluster-admin").await;
    server.kubectl("create rolebinding binder --role=binder --user=boss").await;
    server.kubectl(&bind("cluster-admin")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acting_as_somebody_is_a_right_of_its_own() {
    let server = Server::start().await;
    let ann = server.kubeconfig_of("ann", "devs");
    // kubectl remembers discovery from here on: a refusal of it would be printed without its message.
    server.kubectl("get pods").await;
    let refused = server.kubectl_fails(&format!("get pods {ann} --as=boss"), "").await;
    assert!(
        refused.contains(
            r#"users "boss" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope"#
        ),
        "{refused}"
    );
    server
        .kubectl("create clusterrole as-boss --verb=impersonate --resource=users --resource-name=boss")
        .await;
    server.kubectl("create clusterrolebinding as-boss --clusterrole=as-boss --group=devs").await;
    server.kubectl("create rolebinding boss --clusterrole=view --user=boss").await;
    server.kubectl(&format!("get pods {ann} --as=boss")).await;
    let refused =
        server.kubectl_fails(&format!("get pods {ann} --as=boss --as-group=system:masters"), "").await;
    assert!(refused.contains(r#"groups "system:masters" is forbidden"#), "{refused}");
    let refused = server.kubectl_fails(&format!("get pods {ann} --as=boss --as-uid=7"), "").await;
    assert!(refused.contains(r#"uids.authentication.k8s.io "7" is forbidden"#), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregated_roles_follow_their_parts_and_defaults_come_back() {
    let mut server = Server::start().await;
    let rules = |text: String| -> usize { serde_json::from_str::<Vec<Value>>(&text).unwrap().len() };
    let of = |role: &str| format!("get clusterrole {role} -o jsonpath={{.rules}}");
    let view = rules(server.kubectl(&of("view")).await);
    assert!(view > 5 && rules(server.kubectl(&of("admin")).await) > view);
    let part = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "widgets",
        "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}]}"#;
    server.kubectl_input("create -f -", part).await;
    for role in ["view", "edit", "admin"] {
        server.eventually(&of(role), |text| text.contains("widgets")).await;
    }
    server.kubectl("delete clusterrole widgets").await;
    server.eventually(&of("admin"), |text| !text.contains("widgets")).await;

    server.kubectl("delete clusterrole system:discovery").await;
    server.kubectl("delete clusterrolebinding system:basic-user").await;
    server.kubectl("annotate clusterrole system:monitoring rbac.authorization.kubernetes.io/autoupdate=false --overwrite").await;
    server.kubectl(r#"patch clusterrole system:monitoring --type=merge -p {"rules":[]}"#).await;
    server.restart().await;
    server.kubectl("get clusterrole system:discovery").await;
    server.kubectl("get clusterrolebinding system:basic-user").await;
    assert_eq!(server.kubectl(&of("system:monitoring")).await, "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_held_to_its_own_things() {
    let server = Server::start().await;
    let node = "--as=system:node:node1 --as-group=system:nodes";
    let own = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "NAME"}}"#;
    server.kubectl_input(&format!("create -f - {node}"), &own.replace("NAME", "node1")).await;
    let refused = server.kubectl_fails(&format!("create -f - {node}"), &own.replace("NAME", "node2")).await;
    assert!(refused.contains(r#"node "node1" is not allowed to modify node "node2""#), "{refused}");
    server.kubectl("run web --image=x").await;
    let delete = format!("delete pod web --now --wait=false {node}");
    let refused = server.kubectl_fails(&delete, "").await;
    assert!(refused.contains("can only delete pods with spec.nodeName set to itself"), "{refused}");
    let bind = r#"{"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web"}, "target": {"name": "node1"}}"#;
    let path = "create --raw=/api/v1/namespaces/default/pods/web/binding -f -";
    server.kubectl_fails(&format!("{path} {node}"), bind).await;
    server.kubectl_input(path, bind).await;
    server.kubectl(&delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_say_what_would_be_decided() {
    let server = Server::start().await;
    let who: Value =
        serde_json::from_str(&server.kubectl("auth whoami -o json --as=ann --as-group=devs").await).unwrap();
    assert_eq!(who["status"]["userInfo"]["username"], "ann");
    assert_eq!(who["status"]["userInfo"]["groups"], serde_json::json!(["devs", "system:authenticated"]));
    server.kubectl("create rolebinding ann --clusterrole=view --user=ann").await;
    for (question, answer) in [
        ("get pods", "yes"),
        ("get secrets", "no"),
        ("create deployments.apps", "no"),
        ("get pods --subresource=log", "yes"),
        ("get pods -A", "no"),
        ("get /healthz", "yes"),
        ("get /metrics", "no"),
    ] {
        let output = server.kubectl_with(&format!("auth can-i {question} {ANN}"), "").await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.trim().lines().last().unwrap_or_default(), answer, "{question}");
    }
    assert_eq!(server.kubectl("auth can-i * * --all-namespaces").await.trim(), "yes");
    let list = server.kubectl(&format!("auth can-i --list {ANN}")).await;
    for line in ["deployments.apps", "[/healthz]", "selfsubjectreviews.authentication.k8s.io"] {
        assert!(list.contains(line), "{line}: {list}");
    }
    let review = r#"{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "ann",
        "resourceAttributes": {"verb": "list", "resource": "services", "namespace": "default"}}}"#;
    let said = server.kubectl_input("create -o json -f -", review).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["status"]["allowed"], true);
    assert_eq!(
        said["status"]["reason"],
        r#"RBAC: allowed by RoleBinding "ann/default" of ClusterRole "view" to User "ann""#
    );
    let nobody = server.kubectl_fails("create -f -", &review.replace("\"user\": \"ann\",", "")).await;
    assert!(nobody.contains("at least one of user or group must be specified"), "{nobody}");
    let manifest = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "namespace": "default"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}"#;
    server.kubectl_input("auth reconcile -f -", manifest).await;
    server.kubectl_input("auth reconcile -f -", &manifest.replace("\"get\"", "\"list\"")).await;
    let verbs = server.kubectl("get role r -o jsonpath={.rules[*].verbs[*]}").await;
    assert!(verbs.contains("get") && verbs.contains("list"), "{verbs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_good_as_long_as_what_they_are_bound_to() {
    let server = Server::start().await;
    server.kubectl("create serviceaccount robot").await;
    server.kubectl("create rolebinding robot --clusterrole=view --serviceaccount=default:robot").await;
    let with = |token: &str| server.kubeconfig_with_token(token.trim());
    let token = server.kubectl("create token robot --duration=20m").await;
    let robot = with(&token);
    let who: Value =
        serde_json::from_str(&server.kubectl(&format!("auth whoami -o json {robot}")).await).unwrap();
    let info = &who["status"]["userInfo"];
    assert_eq!(info["username"], "system:serviceaccount:default:robot");
    assert_eq!(info["groups"][1], "system:serviceaccounts:default");
    assert!(
        info["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap().starts_with("JTI=")
    );
    server.kubectl(&format!("get pods {robot}")).await;
    assert!(server.kubectl_fails(&format!("get secrets {robot}"), "").await.contains("Forbidden"));
    let short = server.kubectl_fails("create token robot --duration=1s", "").await;
    assert!(short.contains("may not specify a duration less than 10 minutes"), "{short}");
    assert!(
        server
            .kubectl_fails("create token nobody", "")
            .await
            .contains(r#"serviceaccounts "nobody" not found"#)
    );

    // For others, not for this server; a review for that audience knows it.
    let vault = server.kubectl("create token robot --audience=vault").await;
    assert!(server.kubectl_fails(&format!("get pods {}", with(&vault)), "").await.contains("Unauthorized"));
    let review = |token: &str, audience: &str| {
        format!(
            r#"{{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {{"token": "{}", "audiences": ["{audience}"]}}}}"#,
            token.trim()
        )
    };
    let asked = server.kubectl_input("create -o json -f -", &review(&vault, "vault")).await;
    assert!(asked.contains(r#""authenticated": true"#), "{asked}");
    let asked = server.kubectl_input("create -o json -f -", &review(&vault, "other")).await;
    assert!(!asked.contains(r#""authenticated": true"#), "{asked}");

    // Bound to a Secret; and one that lives in a Secret.
    server.kubectl("create secret generic key").await;
    let bound =
        with(&server.kubectl("create token robot --bound-object-kind=Secret --bound-object-name=key").await);
    server.kubectl(&format!("get pods {bound}")).await;
    server.kubectl("delete secret key").await;
    assert!(server.kubectl_fails(&format!("get pods {bound}"), "").await.contains("Unauthorized"));
    let secret = r#"{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "old", "annotations": {"kubernetes.io/service-account.name": "robot"}}}"#;
    server.kubectl_input("create -f -", secret).await;
    use base64::Engine as _;
    let kept = server.kubectl("get secret old -o jsonpath={.data.token}").await;
    let kept = base64::engine::general_purpose::STANDARD.decode(kept.trim()).unwrap();
    let legacy = with(std::str::from_utf8(&kept).unwrap());
    server.kubectl(&format!("get pods {legacy}")).await;
    server.kubectl("delete secret old").await;
    assert!(server.kubectl_fails(&format!("get pods {legacy}"), "").await.contains("Unauthorized"));

    server.kubectl("delete serviceaccount robot").await;
    assert!(server.kubectl_fails(&format!("get pods {robot}"), "").await.contains("Unauthorized"));
    server.kubectl("create serviceaccount robot").await;
    let again = server.kubectl_fails(&format!("get pods {robot}"), "").await;
    assert!(again.contains("Unauthorized"), "a successor is another: {again}");
    assert!(server.kubectl("get --raw=/openid/v1/jwks").await.contains("P-256"));
    assert!(server.kubectl("get --raw=/.well-known/openid-configuration").await.contains("ES256"));
}
