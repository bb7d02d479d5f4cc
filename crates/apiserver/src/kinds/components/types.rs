//! The types whose schemas are published, from k8s-openapi.

use std::borrow::Cow;

use k8s_openapi::Resource;
use k8s_openapi::api::{
    apps, authentication, authorization, autoscaling, coordination, core, discovery, networking, policy, rbac,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::{JsonSchema, SchemaGenerator};

/// A type of the library.
pub(super) struct Published {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    /// `io.k8s.api.core.v1.Pod`.
    pub(super) name: fn() -> Cow<'static, str>,
    /// Defines the type and all that it refers to.
    pub(super) define: fn(&mut SchemaGenerator),
}

impl Published {
    const fn of<T: Resource + JsonSchema>() -> Self {
        Self {
            group: T::GROUP,
            version: T::VERSION,
            kind: T::KIND,
            name: T::schema_name,
            define: define::<T>,
        }
    }
}

fn define<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

macro_rules! published {
    ($($name:ty,)*) => { &[$(Published::of::<$name>(),)*] };
}

/// The kinds, and the bodies of subresources.
pub(super) const TYPES: &[Published] = published![
    core::v1::Binding,
    core::v1::ConfigMap,
    core::v1::Endpoints,
    core::v1::Event,
    core::v1::Namespace,
    core::v1::Node,
    core::v1::Pod,
    core::v1::ReplicationController,
    core::v1::Secret,
    core::v1::Service,
    core::v1::ServiceAccount,
    apps::v1::ControllerRevision,
    apps::v1::DaemonSet,
    apps::v1::Deployment,
    apps::v1::ReplicaSet,
    autoscaling::v1::Scale,
    authentication::v1::SelfSubjectReview,
    authentication::v1::TokenRequest,
    authentication::v1::TokenReview,
    authorization::v1::LocalSubjectAccessReview,
    authorization::v1::SelfSubjectAccessReview,
    authorization::v1::SelfSubjectRulesReview,
    authorization::v1::SubjectAccessReview,
    coordination::v1::Lease,
    discovery::v1::EndpointSlice,
    networking::v1::IPAddress,
    networking::v1::Ingress,
    networking::v1::IngressClass,
    networking::v1::NetworkPolicy,
    networking::v1::ServiceCIDR,
    policy::v1::Eviction,
    rbac::v1::ClusterRole,
    rbac::v1::ClusterRoleBinding,
    rbac::v1::Role,
    rbac::v1::RoleBinding,
    apiextensions::v1::CustomResourceDefinition,
];

/// What every document has besides its kinds.
pub(super) fn define_common(generator: &mut SchemaGenerator) {
    define::<meta::DeleteOptions>(generator);
    define::<meta::ListMeta>(generator);
    define::<meta::ObjectMeta>(generator);
    define::<meta::Patch>(generator);
    define::<meta::Status>(generator);
    define::<meta::WatchEvent<()>>(generator);
}

/// The type of that group, version and kind.
pub(super) fn find(group: &str, version: &str, kind: &str) -> Option<&'static Published> {
    TYPES.iter().find(|known| (known.group, known.version, known.kind) == (group, version, kind))
}
