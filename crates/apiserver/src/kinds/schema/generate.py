#!/usr/bin/env python3
"""Writes types.txt: the fields of every type that our kinds reach, from Kubernetes' published JSON schema.

    pip download --no-deps 'kubernetes-validate~=1.33.0'       (Apache-2.0; holds the schema of every version)
    unzip kubernetes_validate-*.whl
    ./generate.py kubernetes_validate/kubernetes-json-schema/v1.33.0-local/_definitions.json > types.txt
"""

import json
import sys

ROOTS = [
    "core.v1.ConfigMap", "core.v1.Endpoints", "core.v1.Event", "core.v1.Namespace", "core.v1.Node", "core.v1.Pod",
    "core.v1.Secret", "core.v1.Service", "core.v1.ServiceAccount", "apps.v1.Deployment", "apps.v1.ReplicaSet",
    "discovery.v1.EndpointSlice", "coordination.v1.Lease", "apps.v1.DaemonSet", "apps.v1.ControllerRevision",
    "networking.v1.Ingress", "networking.v1.IngressClass", "networking.v1.NetworkPolicy", "networking.v1.ServiceCIDR",
    "networking.v1.IPAddress", "rbac.v1.Role", "rbac.v1.ClusterRole", "rbac.v1.RoleBinding", "rbac.v1.ClusterRoleBinding",
    "authentication.v1.TokenRequest", "authentication.v1.TokenReview", "authentication.v1.SelfSubjectReview",
    "authorization.v1.SubjectAccessReview", "authorization.v1.LocalSubjectAccessReview",
    "authorization.v1.SelfSubjectAccessReview", "authorization.v1.SelfSubjectRulesReview",
]
EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
SCALARS = {
    EXTENSIONS + "JSON": "any",
    EXTENSIONS + "JSONSchemaPropsOrStringArray": "any",
    # A schema, or something that is no object.
    EXTENSIONS + "JSONSchemaPropsOrArray": "JSONSchemaProps?",
    EXTENSIONS + "JSONSchemaPropsOrBool": "JSONSchemaProps?",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
}
PREFIX = "#/$defs/"
# What the published schema does not say and Kubernetes' Go types do: defaults of fields that are keys of a list, ...
KEY_DEFAULTS = {("ContainerPort", "protocol"): "TCP", ("ServicePort", "protocol"): "TCP"}
# ... and structs that are not behind a pointer: they are there, empty, in every object of their holder.
EMBEDDED = {
    ("Container", "resources"), ("DaemonSetSpec", "template"),
    ("DaemonSetSpec", "updateStrategy"), ("DeploymentSpec", "strategy"), ("DeploymentSpec", "template"),
    ("EphemeralContainer", "resources"), ("Event", "involvedObject"), ("Event", "source"),
    ("IngressStatus", "loadBalancer"), ("NetworkPolicySpec", "podSelector"), ("NodeDaemonEndpoints", "kubeletEndpoint"),
    ("NodeStatus", "daemonEndpoints"), ("NodeStatus", "nodeInfo"), ("ReplicaSetSpec", "template"),
    ("ServiceStatus", "loadBalancer"), ("PodTemplateSpec", "metadata"), ("PodTemplateSpec", "spec"),
}
EMBEDDED_IN_ROOTS = {"metadata", "spec", "status"}


def main():
    with open(sys.argv[1]) as source:
        definitions = json.load(source)["$defs"]
    short = {}
    queue = ["io.k8s.api." + root for root in ROOTS] + [EXTENSIONS + "CustomResourceDefinition"]

    def name(full):
        """The last word of the type's name; with its group in front where two groups use the same word."""
        if full not in short:
            word = full.rsplit(".", 1)[1]
            if word in short.values():
                word = full.split(".")[-3] + "." + word
            short[full] = word
            queue.append(full)
        return short[full]

    def type_of(schema):
        if "$ref" in schema:
            full = schema["$ref"][len(PREFIX):]
            return SCALARS.get(full) or name(full)
        kinds = schema.get("type", [])
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind == "array":
            return "[" + type_of(schema["items"]) + "]"
        if kind == "object":
            return "{" + type_of(schema["additionalProperties"]) + "}" if "additionalProperties" in schema else "any"
        if kind == "integer":
            return schema.get("format", "int64")
        if kind == "string":
            return "bytes" if schema.get("format") == "byte" else "string"
        return {"boolean": "bool", "number": "number"}[kind]

    roots = set(queue)
    for full in queue:
        short[full] = full.rsplit(".", 1)[1]
    written = {}
    while queue:
        full = queue.pop(0)
        if full in written:
            continue
        definition = definitions[full]
        required = definition.get("required", [])
        lines = []
        for field, schema in sorted(definition.get("properties", {}).items()):
            line = f"  {field}{'!' if field in required else ''} {type_of(schema)}"
            strategy = schema.get("x-kubernetes-patch-strategy", "").split(",")
            if "merge" in strategy:
                key = schema.get("x-kubernetes-patch-merge-key")
                line += f" merge={key}" if key else " merge"
            match schema.get("x-kubernetes-list-type"):
                case "set":
                    line += " list=set"
                case "map":
                    line += " list=" + ",".join(schema["x-kubernetes-list-map-keys"]) + ","
            if schema.get("x-kubernetes-map-type") == "atomic":
                line += " atomic"
            place = (short[full], field)
            if place in KEY_DEFAULTS:
                line += f" default={KEY_DEFAULTS[place]}"
            if place in EMBEDDED or (full in roots and field in EMBEDDED_IN_ROOTS and "$ref" in schema):
                line += " embedded"
            lines.append(line)
        written[full] = lines
    print("# Kubernetes 1.33 API types, written by generate.py. A field: name, `!` when it is always written, type")
    print("# ([T] list, {T} map from strings, T? also what is no object), how a strategic merge patch treats it, how server-side apply does: items of a")
    print("# list told apart by themselves (list=set) or by keys (list=KEY,), a list being one value otherwise; a map or a")
    print("# type that is one value (atomic); the value of a key that is left out (default=); a struct that is never absent")
    print("# (embedded).")
    for full in sorted(written, key=lambda full: short[full]):
        print(short[full] + (" atomic" if definitions[full].get("x-kubernetes-map-type") == "atomic" else ""))
        print("\n".join(written[full]))


main()
