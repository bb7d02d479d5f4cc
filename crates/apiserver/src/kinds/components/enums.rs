//! The values that a text field may have, where Kubernetes' types say so (`+enum` in `k8s.io/api`).

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];
const HONOURED: &[&str] = &["Honor", "Ignore"];
const TRAFFIC: &[&str] = &["Cluster", "Local"];

/// Type, field and values, as `types.txt` names them. Lists of texts mean their items.
pub(super) const ENUMS: &[(&str, &str, &[&str])] = &[
    ("AppArmorProfile", "type", PROFILES),
    ("Container", "imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("Container", "terminationMessagePolicy", &["FallbackToLogsOnError", "File"]),
    ("ContainerPort", "protocol", PROTOCOLS),
    ("DaemonSetUpdateStrategy", "type", &["OnDelete", "RollingUpdate"]),
    ("DeploymentStrategy", "type", &["Recreate", "RollingUpdate"]),
    ("EndpointPort", "protocol", PROTOCOLS),
    ("EndpointSlice", "addressType", &["FQDN", "IPv4", "IPv6"]),
    ("HTTPGetAction", "scheme", &["HTTP", "HTTPS"]),
    ("HTTPIngressPath", "pathType", &["Exact", "ImplementationSpecific", "Prefix"]),
    (
        "HostPathVolumeSource",
        "type",
        &[
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ],
    ),
    ("NamespaceStatus", "phase", &["Active", "Terminating"]),
    ("NetworkPolicyPort", "protocol", PROTOCOLS),
    ("NetworkPolicySpec", "policyTypes", &["Egress", "Ingress"]),
    ("NodeSelectorRequirement", "operator", &["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"]),
    ("PodSecurityContext", "fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
    ("PodSpec", "dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ("PodSpec", "preemptionPolicy", &["Never", "PreemptLowerPriority"]),
    ("PodSpec", "restartPolicy", &["Always", "Never", "OnFailure"]),
    ("PodStatus", "phase", &["Failed", "Pending", "Running", "Succeeded", "Unknown"]),
    ("PodStatus", "qosClass", &["BestEffort", "Burstable", "Guaranteed"]),
    ("SeccompProfile", "type", PROFILES),
    ("SecurityContext", "procMount", &["Default", "Unmasked"]),
    ("ServicePort", "protocol", PROTOCOLS),
    ("ServiceSpec", "externalTrafficPolicy", TRAFFIC),
    ("ServiceSpec", "internalTrafficPolicy", TRAFFIC),
    ("ServiceSpec", "ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"]),
    ("ServiceSpec", "sessionAffinity", &["ClientIP", "None"]),
    ("ServiceSpec", "type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
    ("Taint", "effect", EFFECTS),
    ("Toleration", "effect", EFFECTS),
    ("Toleration", "operator", &["Equal", "Exists"]),
    ("TopologySpreadConstraint", "nodeAffinityPolicy", HONOURED),
    ("TopologySpreadConstraint", "nodeTaintsPolicy", HONOURED),
    ("TopologySpreadConstraint", "whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"]),
];

/// The values of a field, when they are few and known.
pub(super) fn values(word: &str, field: &str) -> Option<&'static [&'static str]> {
    ENUMS.iter().find(|(holder, name, _)| (*holder, *name) == (word, field)).map(|(.., values)| *values)
}
