"""What programs in Python do with a cluster, with the client library from PyPI.

    client.py CHECK...      CHECK is the name of a function below

Reads the kubeconfig from KUBECONFIG. Every check works in a namespace of its own; the first that fails ends the run.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

PATIENCE = 80  # seconds until a check gives up; the machine may be busy
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def refused(code, call, *arguments, **options):
    """The status object of a call that must fail with that code."""
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == code, f"{error.status} instead of {code}: {error.body}"
        return json.loads(error.body)
    raise AssertionError(f"{call.__name__} was to fail with {code}")


def eventually(what, ask):
    deadline = time.monotonic() + PATIENCE
    while not (answer := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer


def config_map(name, data=None, labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def pod(name, image, command=None):
    container = client.V1Container(name=name, image=image, command=command)
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=0)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), spec=spec)


def running(namespace, body):
    """Creates a pod and waits, by a watch, until it is ready."""
    core = client.CoreV1Api()
    core.create_namespaced_pod(namespace, body)
    selector = f"metadata.name={body.metadata.name}"
    for event in watch.Watch().stream(
        core.list_namespaced_pod, namespace, field_selector=selector, timeout_seconds=PATIENCE
    ):
        conditions = event["object"].status.conditions or []
        if any(condition.type == "Ready" and condition.status == "True" for condition in conditions):
            return
    raise AssertionError(f"pod {body.metadata.name} did not become ready")


def objects(namespace):
    """Create, read, replace, patch in three ways, list, delete."""
    core = client.CoreV1Api()
    created = core.create_namespaced_config_map(namespace, config_map("one", {"a": "1"}, {"n": "odd"}))
    assert created.metadata.uid and created.metadata.creation_timestamp
    assert refused(409, core.create_namespaced_config_map, namespace, config_map("one"))["reason"] == "AlreadyExists"
    created.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("one", namespace, created)
    assert int(replaced.metadata.resource_version) > int(created.metadata.resource_version)
    assert refused(409, core.replace_namespaced_config_map, "one", namespace, created)["reason"] == "Conflict"
    # The library sends a dictionary as a strategic patch and a list as a JSON patch, unless told otherwise.
    patch = core.patch_namespaced_config_map
    merge = client.CoreV1Api(client.ApiClient(header_name="Content-Type", header_value=MERGE)).patch_namespaced_config_map
    assert merge("one", namespace, {"data": {"a": None}}).data == {"b": "2"}
    assert patch("one", namespace, {"data": {"c": "3"}}).data == {"b": "2", "c": "3"}
    assert patch("one", namespace, [{"op": "remove", "path": "/data/b"}]).data == {"c": "3"}
    invalid = refused(422, core.create_namespaced_config_map, namespace, config_map("No_Good"))
    assert invalid["details"]["causes"][0]["field"] == "metadata.name", invalid
    dry = core.create_namespaced_config_map(namespace, config_map("dry"), dry_run="All")
    assert dry.metadata.uid
    assert refused(404, core.read_namespaced_config_map, "dry", namespace)["reason"] == "NotFound"
    assert core.delete_namespaced_config_map("one", namespace).status == "Success"
    assert refused(404, core.delete_namespaced_config_map, "one", namespace)["details"]["name"] == "one"


def lists(namespace):
    """Selectors, and pages that belong to one moment."""
    core = client.CoreV1Api()
    for number in range(10):
        labels = {"set": "pages", "parity": "even" if number % 2 == 0 else "odd"}
        core.create_namespaced_config_map(namespace, config_map(f"page{number}", labels=labels))
    of = lambda **options: core.list_namespaced_config_map(namespace, **options)
    assert len(of(label_selector="set=pages,parity in (odd)").items) == 5
    assert len(of(label_selector="set=pages", field_selector="metadata.name!=page3").items) == 9
    page, names = of(label_selector="set=pages", limit=4), []
    core.delete_namespaced_config_map("page9", namespace)
    while True:
        names += [item.metadata.name for item in page.items]
        if not page.metadata._continue:
            break
        page = of(label_selector="set=pages", limit=4, _continue=page.metadata._continue)
    assert names == [f"page{number}" for number in range(10)], names
    core.delete_collection_namespaced_config_map(namespace, label_selector="parity=even")
    assert len(of(label_selector="set=pages").items) == 4
    assert "unable to parse" in refused(400, of, label_selector="a in b")["message"]


def watches(namespace):
    """Changes in order, resumed where a watch ended; bookmarks; a streaming list."""
    core = client.CoreV1Api()
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, config_map("seen", {"a": "1"}))
    core.patch_namespaced_config_map("seen", namespace, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("seen", namespace)

    def seen(since, count, **options):
        events, watcher = [], watch.Watch()
        for event in watcher.stream(
            core.list_namespaced_config_map, namespace, field_selector="metadata.name=seen", resource_version=since,
            timeout_seconds=PATIENCE, **options
        ):
            events.append((event["type"], (event["object"].data or {}).get("a"), event["object"].metadata.resource_version))
            if len(events) == count:
                watcher.stop()
        return events

    all_three = seen(start, 3)
    assert [event[:2] for event in all_three] == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")], all_three
    assert seen(all_three[0][2], 2) == all_three[1:]
    # What the API says, line by line: the library keeps bookmarks to itself.
    answer = core.list_namespaced_config_map(
        namespace, watch=True, resource_version=start, allow_watch_bookmarks=True, timeout_seconds=1,
        send_initial_events=None, _preload_content=False,
    )
    lines = [json.loads(line) for line in answer.read().decode().splitlines()]
    assert [line["type"] for line in lines[:3]] == ["ADDED", "MODIFIED", "DELETED"], lines
    assert all(line["type"] == "BOOKMARK" and list(line["object"]["metadata"]) for line in lines[3:]), lines
    # A streaming list ends with a bookmark that says so.
    answer = core.list_namespaced_config_map(
        namespace, watch=True, allow_watch_bookmarks=True, send_initial_events=True,
        resource_version_match="NotOlderThan", timeout_seconds=1, _preload_content=False,
    )
    lines = [json.loads(line) for line in answer.read().decode().splitlines()]
    marks = [line["object"]["metadata"].get("annotations", {}) for line in lines if line["type"] == "BOOKMARK"]
    assert {"k8s.io/initial-events-end": "true"} in marks, lines


def expires(namespace):
    """A watch and a page from so long ago that the server no longer knows: 410, and a new list goes on."""
    core = client.CoreV1Api()
    core.create_namespaced_config_map(namespace, config_map("first"))
    core.create_namespaced_config_map(namespace, config_map("large"))
    page = core.list_namespaced_config_map(namespace, limit=1)
    start, token = page.metadata.resource_version, page.metadata._continue

    def watched(since):
        return list(watch.Watch().stream(
            core.list_namespaced_config_map, namespace, resource_version=since, timeout_seconds=1
        ))

    # The past is kept up to 64 MiB.
    for number in range(80):
        core.patch_namespaced_config_map("large", namespace, {"data": {"text": str(number % 10) * 1000000}})
    try:
        raise AssertionError(f"the past is still known: {watched(start)}")
    except ApiException as error:
        # The watch had begun: its error is an event, which the library raises without a body.
        assert error.status == 410 and "too old resource version" in error.reason, error
    gone = refused(410, core.list_namespaced_config_map, namespace, _continue=token)
    assert gone["reason"] == "Expired", gone
    listed = core.list_namespaced_config_map(namespace)
    assert [item.metadata.name for item in listed.items][:1] == ["first"]
    core.delete_namespaced_config_map("first", namespace)
    assert [event["type"] for event in watched(listed.metadata.resource_version)] == ["DELETED"]


def tokens(namespace):
    """A program that has nothing but the token of a ServiceAccount: it may what a role says, until the account goes."""
    core, rights = client.CoreV1Api(), client.RbacAuthorizationV1Api()
    core.create_namespaced_service_account(namespace, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
    asked = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("robot", namespace, asked).status.token
    own = client.Configuration.get_default_copy()
    own.cert_file = own.key_file = None
    own.api_key = {"authorization": f"Bearer {token}"}
    bearer = client.ApiClient(own)
    robot = client.CoreV1Api(bearer)
    user = client.AuthenticationV1Api(bearer).create_self_subject_review(client.V1SelfSubjectReview()).status.user_info
    assert user.username == f"system:serviceaccount:{namespace}:robot" and "system:serviceaccounts" in user.groups, user
    refusal = refused(403, robot.list_namespaced_config_map, namespace)
    assert f'User "{user.username}" cannot list resource "configmaps"' in refusal["message"], refusal
    rights.create_namespaced_role_binding(namespace, client.V1RoleBinding(
        metadata=client.V1ObjectMeta(name="robot-looks"),
        role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="view"),
        subjects=[client.RbacV1Subject(kind="ServiceAccount", name="robot", namespace=namespace)],
    ))
    robot.list_namespaced_config_map(namespace)
    refused(403, robot.create_namespaced_config_map, namespace, config_map("no"))
    refused(403, robot.list_namespaced_secret, namespace)
    core.delete_namespaced_service_account("robot", namespace)
    assert refused(401, robot.list_namespaced_config_map, namespace)["reason"] == "Unauthorized"


def mounted(namespace):
    """A pod's way to the API: what is mounted into it and in its environment, used from its network."""
    core, rights = client.CoreV1Api(), client.RbacAuthorizationV1Api()
    rights.create_namespaced_role_binding(namespace, client.V1RoleBinding(
        metadata=client.V1ObjectMeta(name="pods-look"),
        role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="view"),
        subjects=[client.RbacV1Subject(kind="ServiceAccount", name="default", namespace=namespace)],
    ))
    running(namespace, pod("inside", "busybox", ["sleep", "100000"]))
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    command = f"cd {folder}; for file in token namespace; do cat $file; echo; done; " \
        "echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT; cat ca.crt"
    said = stream(core.connect_get_namespaced_pod_exec, "inside", namespace, command=["sh", "-c", command],
                  stdout=True, stderr=True, stdin=False, tty=False)
    token, own, address, certificate = said.split("\n", 3)
    assert own == namespace and address == "10.96.0.1:443", (own, address)

    # The images have no client that speaks today's TLS: one of the machine goes into the pod's network.
    def ask(path):
        with tempfile.NamedTemporaryFile("w") as authority:
            authority.write(certificate)
            authority.flush()
            return subprocess.run(
                [os.environ["PORTOLAN"], "lab", "exec", "--name", os.environ["LAB"], f"pod/{namespace}/inside", "--",
                 "curl", "-sS", "--cacert", authority.name, "-H", f"Authorization: Bearer {token}",
                 "--connect-to", f"::{address}", f"https://kubernetes.default.svc/api/v1/namespaces/{own}/{path}"],
                check=True, capture_output=True, text=True,
            ).stdout

    listed = json.loads(ask("pods"))
    assert [item["metadata"]["name"] for item in listed["items"]] == ["inside"], listed
    refusal = json.loads(ask("secrets"))
    assert f'User "system:serviceaccount:{namespace}:default" cannot list resource "secrets"' in refusal["message"], refusal


def custom(namespace):
    """A kind of one's own: refused by its schema, watched, patched, with its own status."""
    kinds, things = client.ApiextensionsV1Api(), client.CustomObjectsApi()
    place = ("python.example.com", "v1", namespace, "gadgets")
    schema = {
        "type": "object", "required": ["spec"],
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"}}},
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        },
    }
    kinds.create_custom_resource_definition({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.python.example.com"},
        "spec": {
            "group": place[0], "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}],
        },
    })
    gadget = lambda name, size: {"apiVersion": "python.example.com/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": {"size": size}}
    start = things.list_namespaced_custom_object(*place)["metadata"]["resourceVersion"]
    assert things.create_namespaced_custom_object(*place, gadget("one", 3))["spec"] == {"size": 3, "color": "red"}
    small = refused(422, things.create_namespaced_custom_object, *place, gadget("two", 0))
    assert "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1" in small["message"], small
    things.patch_namespaced_custom_object(*place, "one", {"spec": {"color": "blue"}})
    things.patch_namespaced_custom_object_status(*place, "one", {"status": {"ready": True}, "spec": {"size": 9}})
    found = things.get_namespaced_custom_object(*place, "one")
    assert (found["spec"], found["status"]) == ({"size": 3, "color": "blue"}, {"ready": True}), found
    things.delete_namespaced_custom_object(*place, "one")
    events = watch.Watch().stream(
        things.list_namespaced_custom_object, *place, resource_version=start, timeout_seconds=1
    )
    seen = [(event["type"], event["object"]["metadata"]["name"]) for event in events]
    assert seen == [("ADDED", "one"), ("MODIFIED", "one"), ("MODIFIED", "one"), ("DELETED", "one")], seen
    kinds.delete_custom_resource_definition("gadgets.python.example.com")
    eventually("the kind is gone", lambda: is_gone(lambda: things.list_namespaced_custom_object(*place)))


def is_gone(read):
    try:
        read()
    except ApiException as error:
        return error.status == 404
    return False


def restarts(namespace):
    """A server that was killed: what it answered is there, and a watch goes on where it was."""
    core = client.CoreV1Api()
    created = core.create_namespaced_config_map(namespace, config_map("kept", {"a": "1"}))
    core.patch_namespaced_config_map("kept", namespace, {"data": {"a": "2"}})
    with open(os.environ["LAB_DIRECTORY"] + "/control-plane/process.json") as process:
        os.kill(json.load(process)["pid"], 9)
    subprocess.run([os.environ["PORTOLAN"], "lab", "up", "--name", os.environ["LAB"]], check=True, capture_output=True)
    assert core.read_namespaced_config_map("kept", namespace).data == {"a": "2"}
    core.delete_namespaced_config_map("kept", namespace)
    watcher, seen = watch.Watch(), []
    for event in watcher.stream(
        core.list_namespaced_config_map, namespace, resource_version=created.metadata.resource_version,
        field_selector="metadata.name=kept", timeout_seconds=PATIENCE,
    ):
        seen.append(event["type"])
        if len(seen) == 2:
            watcher.stop()
    assert seen == ["MODIFIED", "DELETED"], seen


def workloads(namespace):
    """A Deployment from YAML, watched until it is there, scaled, patched by the names of its containers, deleted."""
    apps, core = client.AppsV1Api(), client.CoreV1Api()
    manifest = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "web", "image": "httpd"}, {"name": "side", "image": "busybox", "command": ["sleep", "100000"]}],
                },
            },
        },
    }
    utils.create_from_dict(client.ApiClient(), manifest, namespace=namespace)
    available = lambda count: eventually(
        f"{count} available", lambda: apps.read_namespaced_deployment("web", namespace).status.available_replicas == count
    )
    available(1)
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
    assert scale.spec.replicas == 2 and scale.status.selector == "app=web"
    available(2)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "env": [{"name": "A", "value": "1"}]}]}}}}
    patched = apps.patch_namespaced_deployment("web", namespace, patch)
    assert [(c.name, c.image, bool(c.env)) for c in patched.spec.template.spec.containers] == [
        ("web", "httpd", False), ("side", "busybox", True),
    ]
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    eventually("the pods are gone", lambda: not core.list_namespaced_pod(namespace).items)


def containers(namespace):
    """Commands in a container over WebSocket, its log, a port of it, a request through the API."""
    core = client.CoreV1Api()
    running(namespace, pod("box", "busybox", ["sh", "-c", "for n in 1 2 3; do echo line $n; done; exec sleep 100000"]))
    execute = core.connect_get_namespaced_pod_exec
    said = stream(execute, "box", namespace, command=["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True,
                  stdin=False, tty=False)
    assert sorted(said.split()) == ["err", "out"], said
    session = stream(execute, "box", namespace, command=["sh"], stdin=True, stdout=True, stderr=True, tty=False,
                     _preload_content=False)
    session.write_stdin("echo $((6*7))\n")
    assert session.readline_stdout(timeout=PATIENCE) == "42"
    session.write_stdin("echo oops >&2; exit 3\n")
    session.run_forever(timeout=PATIENCE)
    assert session.read_stderr().strip() == "oops"
    assert session.returncode == 3
    assert core.read_namespaced_pod_log("box", namespace) == "line 1\nline 2\nline 3\n"
    assert core.read_namespaced_pod_log("box", namespace, tail_lines=1) == "line 3\n"
    follower, followed = watch.Watch(), []
    for line in follower.stream(core.read_namespaced_pod_log, "box", namespace):
        followed.append(line)
        if len(followed) == 3:
            follower.stop()
    assert followed == ["line 1", "line 2", "line 3"]
    running(namespace, pod("web", "httpd"))

    def page():
        try:
            return core.connect_get_namespaced_pod_proxy("web:80", namespace)
        except ApiException:
            return None  # It runs, and does not listen yet.

    assert "It works!" in eventually("a page through the API", page)
    ports = portforward(core.connect_get_namespaced_pod_portforward, "web", namespace, ports="80")
    connection = ports.socket(80)
    connection.settimeout(PATIENCE)
    connection.sendall(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    assert b"It works!" in answer, answer
    assert ports.error(80) is None


def election(namespace):
    """Two candidates; the leader is killed and the other one takes over."""
    core = client.CoreV1Api()
    lock = lambda: core.read_namespaced_config_map("leader", namespace).metadata.annotations
    holder = lambda: json.loads(lock()["control-plane.alpha.kubernetes.io/leader"])["holderIdentity"]

    def stand(identity):
        return subprocess.Popen([sys.executable, __file__, "--candidate", namespace, identity], stderr=subprocess.DEVNULL)

    def leads(identity):
        try:
            return holder() == identity
        except (ApiException, KeyError, TypeError):
            return False

    first = stand("first")
    try:
        eventually("the first leads", lambda: leads("first"))
        second = stand("second")
        try:
            before = lock()
            eventually("the first renews", lambda: lock() != before)
            assert leads("first"), "the second took over from a leader that lives"
            first.kill()
            eventually("the second leads", lambda: leads("second"))
        finally:
            second.kill()
    finally:
        first.kill()


def candidate(namespace, identity):
    """Stands for election until it is killed."""
    from kubernetes.leaderelection import electionconfig, leaderelection
    from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

    leaderelection.LeaderElection(
        electionconfig.Config(
            ConfigMapLock("leader", namespace, identity), lease_duration=3, renew_deadline=2, retry_period=1,
            onstarted_leading=threading.Event().wait, onstopped_leading=sys.exit,
        )
    ).run()


def dynamically(namespace):
    """Kinds found by asking the server, not known to the library."""
    kinds = dynamic.DynamicClient(client.ApiClient())
    services = kinds.resources.get(api_version="v1", kind="Service")
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dyn"}, "spec": {"ports": [{"port": 80}]}}
    assert services.create(body=body, namespace=namespace).spec.clusterIP
    patch = {"spec": {"ports": [{"port": 80, "name": "http"}]}}
    patched = services.patch(name="dyn", namespace=namespace, body=patch, content_type=STRATEGIC)
    assert patched.spec.ports[0].name == "http"
    slices = kinds.resources.get(api_version="discovery.k8s.io/v1", kind="EndpointSlice")
    assert slices.namespaced and "watch" in slices.verbs
    deployments = kinds.resources.get(api_version="apps/v1", kind="Deployment")
    assert "scale" in deployments.subresources
    services.delete(name="dyn", namespace=namespace)
    assert not [item for item in services.get(namespace=namespace).items if item.metadata.name == "dyn"]


def applying(namespace):
    """Server-side apply: fields with owners, a conflict, and its end."""
    maps = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")
    body = lambda **data: {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ours"}, "data": data}
    apply = lambda manager, force, **data: maps.server_side_apply(
        body=body(**data), name="ours", namespace=namespace, field_manager=manager, force_conflicts=force
    )
    first = apply("one", None, a="1", b="2")
    assert [entry.manager for entry in first.metadata.managedFields] == ["one"]
    try:
        apply("two", None, a="9")
        raise AssertionError("no conflict")
    except ApiException as error:
        assert error.status == 409 and b'conflict with \\"one\\"' in error.body, error.body
    assert apply("two", True, a="9").data.to_dict() == {"a": "9", "b": "2"}
    assert apply("one", None, b="3").data.to_dict() == {"a": "9", "b": "3"}
    assert apply("one", None).data.to_dict() == {"a": "9"}


def secrets(namespace):
    """Bytes come back as they went."""
    core = client.CoreV1Api()
    value = base64.b64encode(bytes(range(256))).decode()
    metadata = client.V1ObjectMeta(generate_name="bytes-")
    body = client.V1Secret(metadata=metadata, data={"all": value}, string_data={"text": "\u00fc"})
    created = core.create_namespaced_secret(namespace, body)
    assert created.metadata.name.startswith("bytes-") and created.data["all"] == value
    assert base64.b64decode(created.data["text"]).decode() == "\u00fc"
    info = client.VersionApi().get_code()
    assert info.git_version.startswith("v1.33"), info
    assert "apps" in {group.name for group in client.ApisApi().get_api_versions().groups}


def main(arguments):
    config.load_kube_config()
    if arguments[:1] == ["--candidate"]:
        return candidate(*arguments[1:])
    core = client.CoreV1Api()
    for name in arguments:
        namespace = f"python-{name}"
        core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
        started = time.monotonic()
        globals()[name](namespace)
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)


main(sys.argv[1:])
