#!/usr/bin/env python3
"""Writes numbers.txt: numbers and types of the protobuf fields of the messages that our kinds reach.

    ./generate.py K8S_PB/src ../kinds/schema/types.txt > numbers.txt

K8S_PB is the unpacked crate k8s-pb 0.9 (Apache-2.0), generated from Kubernetes' own .proto files; types.txt gives the
spelling of the fields' JSON names.
"""

import re
import sys
from pathlib import Path

ROOTS = [
    ("api/core/v1", ["Binding", "ConfigMap", "Endpoints", "Event", "Namespace", "Node", "Pod", "Secret", "Service",
                     "ServiceAccount"]),
    ("api/apps/v1", ["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet"]),
    ("api/discovery/v1", ["EndpointSlice"]),
    ("api/coordination/v1", ["Lease"]),
    ("api/networking/v1", ["IPAddress", "Ingress", "IngressClass", "NetworkPolicy", "ServiceCIDR"]),
    ("api/policy/v1", ["Eviction"]),
    ("api/rbac/v1", ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"]),
    ("api/authentication/v1", ["TokenRequest", "TokenReview", "SelfSubjectReview"]),
    ("api/authorization/v1", ["SubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectAccessReview",
                              "SelfSubjectRulesReview"]),
    ("apimachinery/pkg/apis/meta/v1", ["DeleteOptions"]),
]
SPECIAL = {
    "Quantity": "quantity", "IntOrString": "intstr", "Time": "time", "MicroTime": "microtime", "FieldsV1": "skip",
    "RawExtension": "skip", "ExtraValue": "strings",
}
# Pointers in Go: their zero says something, and stands in the JSON. The zero of every other field is left out.
POINTERS = """
    activeDeadlineSeconds allocateLoadBalancerNodePorts allowPrivilegeEscalation automountServiceAccountToken
    blockOwnerDeletion controller defaultMode enableServiceLinks endPort expirationSeconds fsGroup gracePeriodSeconds
    hostUsers immutable leaseDurationSeconds mode optional orphanDependents partition priority privileged progressDeadlineSeconds
    readOnlyRootFilesystem ready replicas revisionHistoryLimit runAsGroup runAsNonRoot runAsUser serving
    setHostnameAsFQDN shareProcessNamespace terminating terminationGracePeriodSeconds tolerationSeconds
""".split()
# Embedded in Go: their fields stand in the JSON of the message around them.
INLINE = ["ephemeralContainerCommon", "handler", "ingressRuleValue", "localObjectReference", "volumeSource"]
FIELD = re.compile(r'#\[prost\((.*?)\)\]\s*pub (?:r#)?(\w+):\s+(.*?),\n(?=\s*(?:///|#\[)|\Z)', re.S)


def spelling(path):
    lines = Path(path).read_text().splitlines()
    names = (line.split()[0].rstrip("!") for line in lines if line.startswith("  "))
    return {name.lower(): name for name in names}


def camel(name):
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def messages(source, module):
    text = (source / module / "mod.rs").read_text()
    for match in re.finditer(r"pub struct (\w+) \{\n(.*?)\n\}", text, re.S):
        yield match.group(1), match.group(2)


def main():
    source, names = Path(sys.argv[1]), spelling(sys.argv[2])
    modules = {module: dict(messages(source, module)) for module in
               (str(path.parent.relative_to(source)) for path in source.glob("*/**/mod.rs"))}
    queue = [(module, root) for module, roots in ROOTS for root in roots]
    done = set()
    print("# Protobuf fields of Kubernetes messages, written by generate.py: number, JSON name, type ([T] list, {T} map from")
    print("# strings), `-` for fields that stand in the JSON of the message around them, `=` when a zero is a value.")

    def message(module, rust):
        """The module and name of a message from its Rust path."""
        parts = rust.split("::")
        base = module.split("/")
        while parts[0] == "super":
            parts.pop(0)
            base.pop()
        return "/".join(base + parts[:-1]), parts[-1]

    def kind(module, rust):
        target = message(module, rust)
        if target[1] in SPECIAL:
            return SPECIAL[target[1]]
        queue.append(target)
        return ".".join(target).replace("/", ".")

    while queue:
        module, name = queue.pop(0)
        if (module, name) in done:
            continue
        done.add((module, name))
        print(f"{module}.{name}".replace("/", "."))
        for attributes, rust_name, rust_type in FIELD.findall(modules[module][name] + "\n"):
            number = re.search(r'tag = "(\d+)"', attributes).group(1)
            json = names.get(rust_name.replace("_", "").lower(), camel(rust_name))
            mapped = re.search(r'map = "string, (\w+)"', attributes)
            if mapped:
                value = mapped.group(1)
                if value == "message":
                    value = kind(module, re.findall(r"[\w:]+", rust_type)[-1])
                written = "{" + value + "}"
            else:
                value = re.split(r"[,\s=]", attributes)[0]
                if value == "message":
                    value = kind(module, re.findall(r"[\w:]+", rust_type)[-1])
                written = f"[{value}]" if "repeated" in attributes else value
            json = "Port" if name == "DaemonEndpoint" else "-" if json in INLINE else json
            print(f"  {number} {json} {written}" + (" =" if json in POINTERS else ""))


main()
