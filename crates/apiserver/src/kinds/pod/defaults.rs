//! What a pod spec has when its sender did not say (`pkg/apis/core/v1/defaults.go`, and the admission plugins that
//! every cluster runs).

use serde_json::{Map, Value, json};

use crate::kinds::field::{self, fill, items, objects, set, text};
use crate::kinds::schema::quantity::nanos;

type Object = Map<String, Value>;

/// Mode of projected files, 0644.
const FILE_MODE: i64 = 0o644;
/// Seconds for which a pod stays on a node that does not answer.
const UNREACHABLE_SECONDS: i64 = 300;

/// The defaults of pods and templates alike.
pub(in crate::kinds) fn spec(spec: &mut Object) {
    fill(spec, "restartPolicy", "Always");
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "schedulerName", "default-scheduler");
    fill(spec, "terminationGracePeriodSeconds", 30);
    field::object(spec, "securityContext");
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    same_account(spec);
    for list in ["initContainers", "containers"] {
        for container in objects(spec, list) {
            fill_in_container(container, host_network);
        }
    }
    for volume in objects(spec, "volumes") {
        fill_in_volume(volume);
    }
}

fn fill_in_container(container: &mut Object, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
    fill(container, "imagePullPolicy", policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    for port in objects(container, "ports") {
        fill(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            fill(port, "hostPort", number);
        }
    }
    for variable in objects(container, "env") {
        if let Some(source) = variable.get_mut("valueFrom").and_then(|source| source.get_mut("fieldRef")) {
            fill_in_reference(source);
        }
    }
    field::object(container, "resources");
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(Value::Object(probe)) = container.get_mut(probe) {
            for (key, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                // To Go, zero is unset.
                if probe.get(key).and_then(Value::as_i64) == Some(0) {
                    probe.shift_remove(key);
                }
                fill(probe, key, value);
            }
            fill_in_handler(probe);
        }
    }
    if let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(Value::Object(hook)) = lifecycle.get_mut(hook) {
                fill_in_handler(hook);
            }
        }
    }
}

fn fill_in_handler(handler: &mut Object) {
    if let Some(Value::Object(get)) = handler.get_mut("httpGet") {
        fill(get, "path", "/");
        fill(get, "scheme", "HTTP");
    }
    if let Some(Value::Object(grpc)) = handler.get_mut("grpc") {
        grpc.entry("service").or_insert_with(|| Value::from(""));
    }
}

/// What is limited and not requested is requested at its limit; in pods, not in templates.
pub(super) fn requests(spec: &mut Object) {
    for list in ["initContainers", "containers"] {
        for container in objects(spec, list) {
            let Some(resources) = field::object(container, "resources") else { continue };
            let Some(Value::Object(limits)) = resources.get("limits").cloned() else { continue };
            let Some(requests) = field::object(resources, "requests") else { continue };
            for (name, limit) in limits {
                requests.entry(name).or_insert(limit);
            }
        }
    }
}

/// `serviceAccount` is the former name of `serviceAccountName`, which counts where they differ.
fn same_account(spec: &mut Object) {
    let named = |spec: &Object, key: &str| {
        spec.get(key).and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let account = named(spec, "serviceAccountName").or_else(|| named(spec, "serviceAccount"));
    if let Some(account) = account {
        set(spec, "serviceAccountName", account.clone());
        set(spec, "serviceAccount", account);
    }
}

fn fill_in_reference(reference: &mut Value) {
    if let Some(reference) = reference.as_object_mut() {
        fill(reference, "apiVersion", "v1");
    }
}

fn fill_in_volume(volume: &mut Object) {
    if volume.keys().all(|key| key == "name") {
        set(volume, "emptyDir", json!({}));
    }
    for (source, value) in volume.iter_mut() {
        let Some(map) = value.as_object_mut() else { continue };
        match source.as_str() {
            "secret" | "configMap" => fill(map, "defaultMode", FILE_MODE),
            "downwardAPI" => {
                fill(map, "defaultMode", FILE_MODE);
                fill_in_downward(map);
            }
            "hostPath" => {
                map.entry("type").or_insert_with(|| Value::from(""));
            }
            "projected" => {
                fill(map, "defaultMode", FILE_MODE);
                for part in objects(map, "sources") {
                    if let Some(Value::Object(token)) = part.get_mut("serviceAccountToken") {
                        fill(token, "expirationSeconds", 3600);
                    }
                    if let Some(Value::Object(downward)) = part.get_mut("downwardAPI") {
                        fill_in_downward(downward);
                    }
                }
            }
            _ => {}
        }
    }
}

fn fill_in_downward(source: &mut Object) {
    for item in objects(source, "items") {
        if let Some(reference) = item.get_mut("fieldRef") {
            fill_in_reference(reference);
        }
    }
}

/// An image without tag and digest is `latest`.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    // A colon before the last slash belongs to the registry's port.
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// What admission adds to a pod that is made: its service account, its priority, and how long it bears a lost node.
pub(super) fn admit(spec: &mut Object) {
    same_account(spec);
    fill(spec, "serviceAccountName", "default");
    same_account(spec);
    fill(spec, "priority", 0);
    fill(spec, "preemptionPolicy", "PreemptLowerPriority");
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covered = tolerations.iter().any(|toleration| {
            let (name, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
            (name.is_empty() || name == key) && (effect.is_empty() || effect == "NoExecute")
        });
        if !covered {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": UNREACHABLE_SECONDS,
            }));
        }
    }
}

/// The single address in the status and the first of the list are the same; where they differ, the single one counts.
pub(super) fn addresses(pod: &mut Value) {
    for (single, list) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        let address = text(pod, &format!("/status/{single}")).to_owned();
        let first = text(pod, &format!("/status/{list}/0/ip")).to_owned();
        let listed = items(pod, &format!("/status/{list}")).iter().any(|item| text(item, "/ip") == address);
        let Some(Value::Object(status)) = pod.get_mut("status") else { return };
        if address.is_empty() && !first.is_empty() {
            set(status, single, first);
        } else if !address.is_empty() && !listed {
            set(status, list, json!([{ "ip": address }]));
        }
    }
}

/// Guaranteed when every container has equal requests and limits of both resources, BestEffort when none has any.
pub(super) fn qos_class(pod: &Value) -> &'static str {
    let all = || items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers"));
    let amount = |container: &Value, part: &str, name: &str| {
        nanos(text(container, &format!("/resources/{part}/{name}"))).filter(|amount| *amount > 0)
    };
    let any = all().any(|container| {
        ["requests", "limits"]
            .iter()
            .any(|part| ["cpu", "memory"].iter().any(|name| amount(container, part, name).is_some()))
    });
    let guaranteed = all().all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(container, "limits", name);
            limit.is_some() && limit == amount(container, "requests", name)
        })
    });
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
