use std::collections::BTreeSet;

use http::header::{ETAG, IF_NONE_MATCH};
use serde_json::Value;

use super::*;
use crate::kinds::testing::references;

fn documents() -> Vec<(String, Value)> {
    let registry = Registry::built_in();
    let places: BTreeSet<(&str, &str)> =
        registry.served().map(|served| (served.group.as_ref(), served.version.as_ref())).collect();
    let written = |(group, version)| (place(group, version), write(registry, group, version).unwrap());
    places.into_iter().map(written).collect()
}

#[test]
fn every_reference_resolves_and_every_operation_has_a_name_of_its_own() {
    for (place, document) in documents() {
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{place}: {reference}");
        }
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in
                item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
            {
                let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path}"));
                assert!(names.insert(id), "{id} stands twice");
                assert!(operation["responses"]["200"].is_object(), "{method} {path}");
            }
            for variable in path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}')) {
                let parameters = item["parameters"].as_array().unwrap();
                assert!(
                    parameters.iter().any(|parameter| parameter["name"] == variable),
                    "{path}: {variable}"
                );
            }
        }
    }
}

#[test]
fn operations_are_named_as_generated_clients_know_them() {
    let registry = Registry::built_in();
    let core = write(registry, "", "v1").unwrap();
    let id =
        |document: &Value, path: &str, method: &str| document["paths"][path][method]["operationId"].clone();
    let pods = "/api/v1/namespaces/{namespace}/pods";
    assert_eq!(id(&core, pods, "get"), "listCoreV1NamespacedPod");
    assert_eq!(id(&core, pods, "delete"), "deleteCoreV1CollectionNamespacedPod");
    assert_eq!(id(&core, "/api/v1/pods", "get"), "listCoreV1PodForAllNamespaces");
    assert_eq!(id(&core, "/api/v1/nodes/{name}/status", "patch"), "patchCoreV1NodeStatus");
    let proxy = format!("{pods}/{{name}}/proxy/{{path}}");
    assert_eq!(id(&core, &proxy, "post"), "connectCoreV1PostNamespacedPodProxyWithPath");
    let exec = &core["paths"][format!("{pods}/{{name}}/exec")]["get"]["parameters"];
    assert!(exec.as_array().unwrap().iter().any(|parameter| parameter["name"] == "command"));
    let apps = write(registry, "apps", "v1").unwrap();
    let one = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let patch = &apps["paths"][one]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(
        patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|parameter| parameter["name"] == "fieldValidation")
    );
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    let scale =
        &apps["paths"][format!("{one}/scale")]["put"]["requestBody"]["content"]["*/*"]["schema"]["$ref"];
    assert_eq!(scale, "#/components/schemas/io.k8s.api.autoscaling.v1.Scale");
    let networking = write(registry, "networking.k8s.io", "v1").unwrap();
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses";
    assert_eq!(id(&networking, ingresses, "post"), "createNetworkingV1NamespacedIngress");
    assert!(write(registry, "apps", "v2").is_none());
}

fn headers(list: &[(http::HeaderName, &str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
}

fn ask(documents: &Documents, query: &str, headers: &HeaderMap) -> Result<Answer, Status> {
    documents.answer(Registry::built_in(), ("apps", "v1"), headers, &Query::parse(query))
}

#[test]
fn a_document_is_sent_once() {
    let documents = Documents::default();
    let first = ask(&documents, "", &HeaderMap::new()).unwrap();
    assert!(first.headers().get(CACHE_CONTROL).is_none() && first.headers().get(CONTENT_ENCODING).is_none());
    let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
    let hash = tag.trim_matches('"');
    let kept = ask(&documents, &format!("hash={hash}"), &headers(&[(ACCEPT_ENCODING, "gzip, br")])).unwrap();
    assert_eq!(kept.status(), StatusCode::OK);
    assert_eq!(kept.headers()[CACHE_CONTROL], "public, immutable");
    assert_eq!(kept.headers()[CONTENT_ENCODING], "gzip");
    assert!(kept.headers().contains_key(EXPIRES));
    let again = ask(&documents, "", &headers(&[(IF_NONE_MATCH, &tag)])).unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let stale = ask(&documents, "hash=ABC", &HeaderMap::new()).unwrap();
    assert_eq!(stale.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(stale.headers()[LOCATION], format!("/openapi/v3/apis/apps/v1?hash={hash}").as_str());
    let protobuf = headers(&[(ACCEPT, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf")]);
    assert_eq!(ask(&documents, "", &protobuf).unwrap_err().code, 406);
    assert!(!takes_compressed(&headers(&[(ACCEPT_ENCODING, "gzip;q=0")])));
}

#[test]
fn compressed_is_what_was_written() {
    let documents = Documents::default();
    let document = documents.document(Registry::built_in(), "apps", "v1").unwrap();
    let text = plain(&document.compressed).unwrap();
    assert_eq!(hash(&text), document.hash);
    assert!(serde_json::from_slice::<Value>(&text).unwrap()["paths"].is_object());
    assert!(document.compressed.len() * 5 < text.len(), "{} of {}", document.compressed.len(), text.len());
    let again = documents.document(Registry::built_in(), "apps", "v1").unwrap();
    assert!(Arc::ptr_eq(&document, &again), "written once");
    assert_eq!(documents.document(Registry::built_in(), "apps", "v3").unwrap_err().code, 404);
}
