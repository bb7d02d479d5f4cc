//! The kinds themselves.

use jiff::Timestamp;
use serde_json::Value;

use super::kind::BuiltIn;
use crate::kinds::strategy::Rules;
use crate::kinds::{
    config_map, controller_revision, daemon_set, definition, deployment, endpoint_slice, endpoints, event,
    ingress, lease, names, namespace, network_policy, node, pod, rbac, replica_set, review, secret, service,
    service_account, service_cidr,
};

/// Wanted and present number of replicas, and the selector.
const REPLICAS: [&str; 3] = ["/spec/replicas", "/status/replicas", "/spec/selector"];

/// A kind with the values that most have.
const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    rules: &'static dyn Rules,
) -> BuiltIn {
    BuiltIn {
        group,
        version,
        kind,
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        status: false,
        scale: None,
        generation: false,
        also: &[],
        columns: &[],
        row: no_row,
        name_rule: names::subdomain_name,
        schema: kind,
        rules,
    }
}

fn no_row(_: &Value, _: Timestamp) -> Vec<Value> {
    Vec::new()
}

/// In the order in which discovery lists them.
pub(super) static KINDS: [BuiltIn; 31] = [
    BuiltIn {
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        namespaced: false,
        status: true,
        columns: namespace::COLUMNS,
        row: namespace::row,
        name_rule: names::label_name,
        ..kind("", "v1", "Namespace", &namespace::Namespace)
    },
    BuiltIn {
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        namespaced: false,
        status: true,
        columns: node::COLUMNS,
        row: node::row,
        ..kind("", "v1", "Node", &node::Node)
    },
    BuiltIn {
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        status: true,
        columns: pod::COLUMNS,
        row: pod::row,
        ..kind("", "v1", "Pod", &pod::Pod)
    },
    BuiltIn {
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        status: true,
        columns: service::COLUMNS,
        row: service::row,
        name_rule: names::service_name,
        ..kind("", "v1", "Service", &service::Service)
    },
    BuiltIn {
        plural: "endpoints",
        singular: "endpoints",
        short_names: &["ep"],
        columns: endpoints::COLUMNS,
        row: endpoints::row,
        ..kind("", "v1", "Endpoints", &endpoints::Endpoints)
    },
    BuiltIn {
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        columns: event::COLUMNS,
        row: event::row,
        ..kind("", "v1", "Event", &event::Event)
    },
    BuiltIn {
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        columns: config_map::COLUMNS,
        row: config_map::row,
        ..kind("", "v1", "ConfigMap", &config_map::ConfigMap)
    },
    BuiltIn {
        plural: "secrets",
        singular: "secret",
        columns: secret::COLUMNS,
        row: secret::row,
        ..kind("", "v1", "Secret", &secret::Secret)
    },
    BuiltIn {
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        columns: service_account::COLUMNS,
        row: service_account::row,
        ..kind("", "v1", "ServiceAccount", &service_account::ServiceAccount)
    },
    BuiltIn {
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        status: true,
        scale: Some(REPLICAS),
        generation: true,
        also: &[("apps", "v1beta1"), ("apps", "v1beta2"), ("extensions", "v1beta1")],
        columns: deployment::COLUMNS,
        row: deployment::row,
        ..kind("apps", "v1", "Deployment", &deployment::Deployment)
    },
    BuiltIn {
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: &["all"],
        status: true,
        scale: Some(REPLICAS),
        generation: true,
        also: &[("apps", "v1beta2"), ("extensions", "v1beta1")],
        columns: replica_set::COLUMNS,
        row: replica_set::row,
        ..kind("apps", "v1", "ReplicaSet", &replica_set::ReplicaSet)
    },
    BuiltIn {
        plural: "daemonsets",
        singular: "daemonset",
        short_names: &["ds"],
        categories: &["all"],
        status: true,
        generation: true,
        also: &[("apps", "v1beta2"), ("extensions", "v1beta1")],
        columns: daemon_set::COLUMNS,
        row: daemon_set::row,
        ..kind("apps", "v1", "DaemonSet", &daemon_set::DaemonSet)
    },
    BuiltIn {
        plural: "controllerrevisions",
        singular: "controllerrevision",
        columns: controller_revision::COLUMNS,
        row: controller_revision::row,
        ..kind("apps", "v1", "ControllerRevision", &controller_revision::ControllerRevision)
    },
    BuiltIn {
        plural: "ingresses",
        singular: "ingress",
        short_names: &["ing"],
        status: true,
        generation: true,
        also: &[("networking.k8s.io", "v1beta1"), ("extensions", "v1beta1")],
        columns: ingress::COLUMNS,
        row: ingress::row,
        ..kind("networking.k8s.io", "v1", "Ingress", &ingress::Ingress)
    },
    BuiltIn {
        plural: "ingressclasses",
        singular: "ingressclass",
        namespaced: false,
        generation: true,
        columns: ingress::CLASS_COLUMNS,
        row: ingress::class_row,
        ..kind("networking.k8s.io", "v1", "IngressClass", &ingress::IngressClass)
    },
    BuiltIn {
        plural: "networkpolicies",
        singular: "networkpolicy",
        short_names: &["netpol"],
        generation: true,
        also: &[("extensions", "v1beta1")],
        columns: network_policy::COLUMNS,
        row: network_policy::row,
        ..kind("networking.k8s.io", "v1", "NetworkPolicy", &network_policy::NetworkPolicy)
    },
    BuiltIn {
        plural: "servicecidrs",
        singular: "servicecidr",
        namespaced: false,
        status: true,
        columns: service_cidr::COLUMNS,
        row: service_cidr::row,
        ..kind("networking.k8s.io", "v1", "ServiceCIDR", &service_cidr::ServiceCidr)
    },
    BuiltIn {
        plural: "ipaddresses",
        singular: "ipaddress",
        short_names: &["ip"],
        namespaced: false,
        columns: service_cidr::ADDRESS_COLUMNS,
        row: service_cidr::address_row,
        name_rule: service_cidr::address_name,
        ..kind("networking.k8s.io", "v1", "IPAddress", &service_cidr::IpAddress)
    },
    BuiltIn {
        plural: "endpointslices",
        singular: "endpointslice",
        generation: true,
        columns: endpoint_slice::COLUMNS,
        row: endpoint_slice::row,
        ..kind("discovery.k8s.io", "v1", "EndpointSlice", &endpoint_slice::EndpointSlice)
    },
    BuiltIn {
        plural: "leases",
        singular: "lease",
        columns: lease::COLUMNS,
        row: lease::row,
        ..kind("coordination.k8s.io", "v1", "Lease", &lease::Lease)
    },
    BuiltIn {
        plural: "clusterroles",
        singular: "clusterrole",
        namespaced: false,
        columns: rbac::ROLE_COLUMNS,
        row: rbac::role_row,
        name_rule: rbac::path_segment,
        ..kind(rbac::GROUP, "v1", "ClusterRole", &rbac::Role { namespaced: false })
    },
    BuiltIn {
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        namespaced: false,
        columns: rbac::BINDING_COLUMNS,
        row: rbac::binding_row,
        name_rule: rbac::path_segment,
        ..kind(rbac::GROUP, "v1", "ClusterRoleBinding", &rbac::Binding { namespaced: false })
    },
    BuiltIn {
        plural: "roles",
        singular: "role",
        columns: rbac::ROLE_COLUMNS,
        row: rbac::role_row,
        name_rule: rbac::path_segment,
        ..kind(rbac::GROUP, "v1", "Role", &rbac::Role { namespaced: true })
    },
    BuiltIn {
        plural: "rolebindings",
        singular: "rolebinding",
        columns: rbac::BINDING_COLUMNS,
        row: rbac::binding_row,
        name_rule: rbac::path_segment,
        ..kind(rbac::GROUP, "v1", "RoleBinding", &rbac::Binding { namespaced: true })
    },
    BuiltIn {
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        namespaced: false,
        columns: review::COLUMNS,
        row: review::row,
        ..kind(review::AUTHENTICATION, "v1", "SelfSubjectReview", &review::Review)
    },
    BuiltIn {
        plural: "tokenreviews",
        singular: "tokenreview",
        namespaced: false,
        columns: review::COLUMNS,
        row: review::row,
        ..kind(review::AUTHENTICATION, "v1", "TokenReview", &review::Review)
    },
    BuiltIn {
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        columns: review::COLUMNS,
        row: review::row,
        ..kind(review::AUTHORIZATION, "v1", "LocalSubjectAccessReview", &review::Review)
    },
    BuiltIn {
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        namespaced: false,
        columns: review::COLUMNS,
        row: review::row,
        ..kind(review::AUTHORIZATION, "v1", "SelfSubjectAccessReview", &review::Review)
    },
    BuiltIn {
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        namespaced: false,
        columns: review::COLUMNS,
        row: review::row,
        ..kind(review::AUTHORIZATION, "v1", "SelfSubjectRulesReview", &review::Review)
    },
    BuiltIn {
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        namespaced: false,
        columns: review::COLUMNS,
        row: review::row,
        ..kind(review::AUTHORIZATION, "v1", "SubjectAccessReview", &review::Review)
    },
    BuiltIn {
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        namespaced: false,
        status: true,
        generation: true,
        columns: definition::COLUMNS,
        row: definition::row,
        ..kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", &definition::Definition)
    },
];
