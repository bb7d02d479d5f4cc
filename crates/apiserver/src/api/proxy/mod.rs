//! The `proxy` subresource of pods and services: HTTP requests go through to a pod's port, whatever they are.
//!
//! ```text
//! …/namespaces/NS/pods/[https:]NAME[:PORT]/proxy/PATH      ─► place (which address and port) ─► upstream (one connection)
//! …/namespaces/NS/services/[https:]NAME[:PORT]/proxy/PATH         headers (what goes through, and what is rewritten)
//! ```
//!
//! Bodies are streamed both ways and have no limit; a connection that is switched over (WebSocket) is joined with the
//! pod's. The rules are those of `apimachinery/pkg/util/proxy`. Links inside HTML pages are not rewritten.

mod headers;
mod place;
#[cfg(test)]
mod tests;
mod upstream;

pub(super) use upstream::Upstream;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use rand::Rng;
use serde_json::Value;

use super::sessions::join;
use super::target::{Target, proxied_path};
use super::{Api, Key};
use crate::http::{Answer, BoxError};
use crate::status::Status;
use place::{Asked, Place};
use upstream::Unreachable;

/// The methods that Kubernetes offers for `proxy`.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

impl Api {
    /// Hands a request through to the pod, or to a pod of the service, that the path names.
    ///
    /// # Errors
    /// 404 when there is no such object, 400 when its address may not be asked, 503 when nothing answers there.
    pub(super) async fn proxy(
        &self,
        target: &Target,
        mut head: Parts,
        body: Incoming,
        client: OnUpgrade,
    ) -> Result<Answer, Status> {
        if !METHODS.contains(&head.method) {
            return Err(Status::method_not_allowed());
        }
        let asked = Asked::parse(&target.served.kind.singular, &target.name)?;
        let place = match target.served.kind.kind.as_ref() {
            "Pod" => place::of_pod(&asked, &self.named("pods", target, asked.name)?)?,
            _ => self.place_of_service(target, &asked)?,
        };
        let asked_path = proxied_path(head.uri.path()).to_owned();
        let upgrade = headers::upgrade(&head.headers);
        if asked_path.is_empty() && upgrade.is_none() && matches!(head.method, Method::GET | Method::HEAD) {
            return to_the_root(&head.uri);
        }
        let prefix = head.uri.path().strip_suffix(&asked_path).unwrap_or_default().to_owned();
        let path = place::cleaned(&asked_path);
        headers::for_pod(&mut head.headers, &head.uri, &format!("{prefix}{path}"), upgrade.as_ref())?;
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut request = Request::new(body);
        *request.uri_mut() = format!("{path}{query}").parse().map_err(Status::internal)?;
        (*request.method_mut(), *request.headers_mut()) = (head.method, head.headers);
        let unreachable =
            |error: Unreachable| Status::unavailable(format!("error trying to reach service: {error}"));
        let mut answer = self.upstream.send(&place, request).await.map_err(unreachable)?;
        let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switched {
            tokio::spawn(join(client, hyper::upgrade::on(&mut answer)));
        }
        let (mut head, body) = answer.into_parts();
        headers::for_client(&mut head.headers, &prefix, &place, switched)?;
        let body = body.map_err(|error| Box::new(error) as BoxError).boxed_unsync();
        let mut out = Response::new(body);
        (*out.status_mut(), *out.headers_mut()) = (head.status, head.headers);
        Ok(out)
    }

    /// Chooses one of a service's endpoints, as `registry/core/service/storage` does.
    fn place_of_service(&self, target: &Target, asked: &Asked<'_>) -> Result<Place, Status> {
        let port = match asked.port.parse::<u16>() {
            Ok(number) => {
                let service = self.named("services", target, asked.name)?;
                place::port_name(&service, asked.name, number)?
            }
            Err(_) => asked.port.to_owned(),
        };
        let endpoints = self.named("endpoints", target, asked.name)?;
        let candidates = place::candidates(&endpoints, &port);
        if candidates.is_empty() {
            return Err(place::no_endpoints(asked.whole));
        }
        let first = rand::rng().random_range(0..candidates.len());
        let (before, after) = candidates.split_at(first);
        for candidate in after.iter().chain(before) {
            // An address that is not a pod's could be anything that this server reaches and the caller may not.
            let Some(pod) = candidate.pod(&target.namespace) else { continue };
            let Some(pod) = self.found("pods", &target.namespace, pod)? else { continue };
            if candidate.belongs_to(&pod) {
                return candidate.place(asked);
            }
        }
        Err(place::no_endpoints(asked.whole))
    }

    fn named(&self, resource: &'static str, target: &Target, name: &str) -> Result<Value, Status> {
        let found = self.found(resource, &target.namespace, name)?;
        found.ok_or_else(|| Status::not_found("", resource, name))
    }

    fn found(&self, resource: &'static str, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
        let key = Key::new(resource, namespace, name);
        let found = self.store.get(&key).map_err(Status::internal)?;
        found.map(|record| super::read::parsed(&record)).transpose()
    }
}

/// `…/proxy` is answered with `…/proxy/`: relative links of the page lead to the pod only from there.
fn to_the_root(uri: &Uri) -> Result<Answer, Status> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let place = HeaderValue::try_from(format!("{}/{query}", uri.path())).map_err(Status::internal)?;
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::MOVED_PERMANENTLY;
    answer.headers_mut().insert(header::LOCATION, place);
    Ok(answer)
}
