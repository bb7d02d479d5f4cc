//! The parameters of requests, in the words of the document.

use serde_json::{Value, json};

/// A parameter of the query.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    name: &'static str,
    kind: &'static str,
    description: &'static str,
}

const fn text(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: "string", description }
}

const fn number(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: "integer", description }
}

const fn switch(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: "boolean", description }
}

const DRY_RUN: Parameter = text("dryRun", "All: do everything but store the outcome.");
const MANAGER: Parameter =
    text("fieldManager", "Name of who makes the change, for the record of who owns which field.");
const VALIDATION: Parameter = text(
    "fieldValidation",
    "What happens to unknown and repeated fields: Ignore drops them, Warn (the default) says so, Strict refuses.",
);

/// Of every change.
pub(super) const WRITE: &[Parameter] = &[DRY_RUN, MANAGER, VALIDATION];
/// Of patches.
pub(super) const PATCH: &[Parameter] = &[
    DRY_RUN,
    MANAGER,
    VALIDATION,
    switch("force", "Take over fields that others own. For server-side apply only."),
];
/// Of deletions.
pub(super) const DELETE: &[Parameter] = &[
    DRY_RUN,
    number("gracePeriodSeconds", "Seconds before the object goes; 0 for at once. The kind has a default."),
    switch("orphanDependents", "Deprecated, see propagationPolicy: leave what depends on the object."),
    text(
        "propagationPolicy",
        "What happens to objects that this one owns: Orphan leaves them, Background deletes them afterwards, Foreground before.",
    ),
];
/// Of lists and watches.
pub(super) const LIST: &[Parameter] = &[
    switch(
        "allowWatchBookmarks",
        "Send bookmarks: events of a watch that carry a new resourceVersion and no change.",
    ),
    text("continue", "Where the last page of a list ended, as it said itself."),
    text("fieldSelector", "Only objects whose fields have these values."),
    text("labelSelector", "Only objects with these labels."),
    number("limit", "Most objects on a page."),
    text("resourceVersion", "How recent the answer must be; where a watch begins."),
    text("resourceVersionMatch", "How resourceVersion is meant for lists: NotOlderThan or Exact."),
    switch(
        "sendInitialEvents",
        "Begin a watch with an event for every object that is there, and a bookmark after them.",
    ),
    number("timeoutSeconds", "Seconds after which a watch ends."),
    switch("watch", "Go on with every change, as a stream of events."),
];
/// Of sessions with a pod's container.
pub(super) const SESSION: &[Parameter] = &[
    text("container", "The container; may be left out when there is only one."),
    switch("stderr", "Send the standard error."),
    switch("stdin", "Feed the standard input."),
    switch("stdout", "Send the standard output."),
    switch("tty", "Use a terminal."),
];
/// What is to be run.
pub(super) const COMMAND: Parameter =
    text("command", "The command and its arguments, one parameter for each word.");
/// Of port forwarding.
pub(super) const PORTS: &[Parameter] = &[number("ports", "Ports of the pod. For WebSocket clients.")];
/// Of logs.
pub(super) const LOG: &[Parameter] = &[
    text("container", "The container; may be left out when there is only one."),
    switch("follow", "Go on as more is written."),
    switch("insecureSkipTLSVerifyBackend", "Accepted and without meaning here."),
    number("limitBytes", "Most bytes of the answer."),
    switch("previous", "The log of the container that ran before this one."),
    number("sinceSeconds", "Only what was written within as many seconds."),
    number("tailLines", "Only so many lines at the end."),
    switch("timestamps", "Begin each line with its time."),
];

/// A parameter as the document says it.
pub(super) fn in_query(parameter: &Parameter) -> Value {
    let schema = json!({"type": parameter.kind, "uniqueItems": true});
    json!({"description": parameter.description, "in": "query", "name": parameter.name, "schema": schema})
}

/// A variable part of the path.
pub(super) fn in_path(name: &str, description: &str) -> Value {
    let schema = json!({"type": "string", "uniqueItems": true});
    json!({"description": description, "in": "path", "name": name, "required": true, "schema": schema})
}

/// Of every path.
pub(super) fn pretty() -> Value {
    in_query(&text("pretty", "Accepted and without meaning here: output is never indented."))
}
