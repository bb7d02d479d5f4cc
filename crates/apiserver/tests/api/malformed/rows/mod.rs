//! The table: what is wrong, how it is asked, and what is told.

mod bodies;
mod objects;
mod patches;
mod reads;

use bytes::Bytes;
use http::Method;
use load::{Answer, Client};

/// What is wrong, how it is asked, and what is told.
pub type Row = (&'static str, Ask, Told);

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [bodies::ROWS, objects::ROWS, patches::ROWS, reads::ROWS].into_iter().flatten()
}

/// A request.
pub struct Ask {
    method: Method,
    path: &'static str,
    media: &'static str,
    body: Body,
}

enum Body {
    Text(&'static str),
    Raw(&'static [u8]),
    /// A unit many times, between two ends.
    Long(&'static str, &'static str, usize, &'static str),
}
use Body::{Long, Raw, Text};

/// Code, reason and a part of the message.
pub struct Told(u16, &'static str, &'static str);

impl Ask {
    pub async fn send(&self, client: &Client) -> Answer {
        let body = match self.body {
            Text(text) => Bytes::from_static(text.as_bytes()),
            Raw(bytes) => Bytes::from_static(bytes),
            Long(before, unit, times, behind) => format!("{before}{}{behind}", unit.repeat(times)).into(),
        };
        client.send(self.method.clone(), self.path, self.media, body).await.unwrap()
    }
}

impl Told {
    /// What the answer says instead.
    pub fn differs_from(&self, answer: &Answer) -> Option<String> {
        let Self(code, reason, part) = *self;
        let status = answer.json();
        let message = status["message"].as_str().unwrap_or_default();
        let same = answer.code.as_u16() == code
            && status["kind"] == "Status"
            && status["status"] == "Failure"
            && status["code"] == code
            && status["reason"] == reason
            && message.contains(part);
        (!same).then(|| format!("{code} {reason} {part:?} expected, but {status}"))
    }
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const HELD: &str = "/api/v1/namespaces/default/configmaps/held";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const POD: &str = "/api/v1/namespaces/default/pods/web";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const THING: &str = "/apis/example.com/v1/namespaces/default/things/one";
const APPLIED: &str = "/api/v1/namespaces/default/configmaps/held?fieldManager=test";

const fn get(path: &'static str) -> Ask {
    Ask { method: Method::GET, path, media: JSON, body: Text("") }
}

const fn post(path: &'static str, body: &'static str) -> Ask {
    Ask { method: Method::POST, path, media: JSON, body: Text(body) }
}

const fn post_as(media: &'static str, path: &'static str, body: Body) -> Ask {
    Ask { method: Method::POST, path, media, body }
}

const fn put(path: &'static str, body: &'static str) -> Ask {
    Ask { method: Method::PUT, path, media: JSON, body: Text(body) }
}

const fn delete(path: &'static str, body: &'static str) -> Ask {
    Ask { method: Method::DELETE, path, media: JSON, body: Text(body) }
}

const fn patch(media: &'static str, path: &'static str, body: &'static str) -> Ask {
    Ask { method: Method::PATCH, path, media, body: Text(body) }
}

const fn bad(part: &'static str) -> Told {
    Told(400, "BadRequest", part)
}

const fn invalid(part: &'static str) -> Told {
    Told(422, "Invalid", part)
}
