//! The Kubernetes API: from a path and a verb to the store and back.

mod admission;
mod apply;
mod body;
mod bounds;
mod chunks;
mod definitions;
mod delete;
mod discovery;
mod eviction;
mod first;
pub(crate) mod fuzzing;
mod health;
mod list_options;
mod logs;
mod meta;
mod modify;
mod openapi;
mod operations;
mod options;
mod parts;
mod patch;
mod proxy;
mod read;
mod render;
mod reviews;
mod service_accounts;
mod sessions;
mod subresources;
mod tags;
mod target;
mod tokens;
mod watch;
mod write;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch as signal;

use crate::access::{Access, Attributes, User};
use crate::audit::{AuditLog, Observed, is_change};
use crate::config::{Config, ServeError};
use crate::http::{Answer, Query, json as json_answer, json_bytes, read_body, status_answer};
use crate::kinds::{Allocation, Context, CustomKind, Kind, Registry};
use crate::status::Status;
use crate::store::{Key, ListQuery, Start, Store, WriteError};
use bounds::{Bounds, Class};
use logs::NodeAgents;
use openapi::Documents;
use target::{Part, Route, Target};

/// Everything that requests need.
pub(crate) struct Api {
    store: Arc<Store>,
    access: Access,
    /// Where lines about changes go, if anybody wants them.
    audit: Option<AuditLog>,
    /// The authority's certificate, for those who are given a token.
    authority: String,
    allocation: Allocation,
    bounds: Bounds,
    agents: NodeAgents,
    definitions: definitions::Definitions,
    /// How pods are reached.
    upstream: proxy::Upstream,
    /// What the kinds look like, for clients.
    openapi: Documents,
    /// The kinds that are served now.
    registry: signal::Sender<Arc<Registry>>,
    stop: signal::Receiver<bool>,
}

/// A request, read.
struct Call {
    method: Method,
    headers: HeaderMap,
    query: Query,
    body: Bytes,
    /// The connection, for what it is switched over to.
    upgrade: OnUpgrade,
    /// What will be told of the request.
    observed: Observed,
}

/// A request whose line is read.
struct Asked {
    request: Request<Incoming>,
    query: Query,
    /// What the caller wants to do.
    attributes: Attributes,
    observed: Observed,
}

impl Api {
    /// Reads what is allocated from the stored services, and writes the objects that every cluster has.
    pub(crate) async fn start(
        config: &Config,
        store: Store,
        audit: Option<AuditLog>,
        stop: signal::Receiver<bool>,
    ) -> Result<Self, ServeError> {
        let allocation = Allocation::new(config.allocation.clone())?;
        let query = ListQuery {
            resource: "services",
            namespace: None,
            start: Start::Latest { at_least: 0 },
            limit: None,
        };
        let page = store.list(&query, |_| true).map_err(|error| ServeError::Services(error.to_string()))?;
        for record in page.records {
            let service: Value = serde_json::from_slice(&record.json)
                .map_err(|error| ServeError::Services(error.to_string()))?;
            allocation.restore(&service);
        }
        let agents = NodeAgents::new(config)?;
        let registry = signal::Sender::new(Arc::clone(Registry::built_in()));
        let upstream = proxy::Upstream::new();
        let store = Arc::new(store);
        let access = Access::new(&store, &config.token_key)?;
        let api = Self {
            store,
            access,
            audit,
            authority: config.authority.clone(),
            allocation,
            bounds: Bounds::new(&config.limits),
            agents,
            definitions: definitions::Definitions::default(),
            upstream,
            openapi: Documents::default(),
            registry,
            stop,
        };
        api.make_first_objects().await?;
        api.settle_definitions().await.map_err(|status| ServeError::Definitions(status.message))?;
        Ok(api)
    }

    /// Answers one request. Never fails: what goes wrong is an answer.
    pub(crate) async fn handle(
        self: Arc<Self>,
        certificate: Option<Arc<User>>,
        request: Request<Incoming>,
    ) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let attributes = Attributes::of(&method, &path, &query);
        let observed = match &self.audit {
            Some(log) if is_change(&attributes) => Observed::begin(log, &request, &attributes),
            _ => Observed::default(),
        };
        let asked = Asked { request, query, attributes, observed: observed.clone() };
        let outcome = self.answer(certificate, asked).await;
        observed.answered(&outcome);
        let mut answer = outcome.unwrap_or_else(|status| {
            if status.code >= 500 {
                tracing::warn!(%method, path, %status, "request failed");
            }
            status_answer(&status)
        });
        observed.mark(&mut answer);
        tracing::debug!(%method, path, code = answer.status().as_u16(), "answered");
        answer
    }

    async fn answer(
        self: &Arc<Self>,
        certificate: Option<Arc<User>>,
        asked: Asked,
    ) -> Result<Answer, Status> {
        let Asked { mut request, query, attributes, observed } = asked;
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        let caller = self.who(certificate, &head.headers, &observed)?;
        tracing::debug!(user = caller.name, groups = ?caller.groups, method = %head.method, uri = %head.uri);
        // Who may not go there does not learn which paths exist.
        let decision = self.access.decide(&caller, &attributes);
        observed.decided(&decision);
        if !decision.allowed {
            return Err(attributes.forbidden(&caller, &decision.reason));
        }
        let registry = self.registry();
        let Some(route) = Route::parse(head.uri.path(), &registry) else {
            return nothing_at(head.uri.path(), &registry);
        };
        let place = self.bounds.enter(Class::of(&head.method, &route, &query), &caller.name)?;
        if let Route::Objects(target @ Target { part: Part::Proxy, .. }) = &route {
            return self.proxy(target, head, body, upgrade).await;
        }
        let limit = bounds::time_limit(&query)?;
        let api = Arc::clone(self);
        let reading = head.method == Method::GET;
        let change = observed.clone();
        let work = async move {
            let body = tokio::time::timeout(limit, read_body(body)).await.map_err(|_| too_slow())??;
            let call = Call { method: head.method, headers: head.headers, query, body, upgrade, observed };
            let answer = match route {
                Route::Objects(target) => api.objects(Target { caller, ..target }, call).await,
                Route::Health(probe, check) => api.health(probe, check.as_deref(), &call),
                Route::OpenId | Route::OpenIdKeys => Ok(api.open_id(&route)),
                other => {
                    // Writing a document takes long enough to hold up others on this thread.
                    let written = tokio::task::spawn_blocking(move || {
                        documents(&other, &call, &registry, &api.openapi)
                    });
                    written.await.map_err(Status::internal)?
                }
            };
            answer.map(|answer| place.leave(answer))
        };
        // A watch or a log is open for as long as it likes: only the time to its first byte is bounded here.
        let bounded = if reading {
            tokio::time::timeout(limit, work).await
        } else {
            // A change goes on when its caller hangs up: what is allocated for an object and the object that is stored
            // must stay together, and hyper drops this future with the connection.
            let finished = tokio::spawn(async move {
                let answer = work.await;
                change.answered(&answer);
                answer
            });
            let outcome = tokio::time::timeout(limit, finished).await;
            outcome.map(|joined| joined.unwrap_or_else(|error| Err(Status::internal(error))))
        };
        bounded.unwrap_or_else(|_| Err(too_slow()))
    }

    /// The user that a request acts for: the caller, or whom the caller impersonates.
    fn who(
        &self,
        certificate: Option<Arc<User>>,
        headers: &HeaderMap,
        observed: &Observed,
    ) -> Result<Arc<User>, Status> {
        let caller = self.access.caller(certificate, headers)?;
        observed.caller(&caller);
        let other = self.access.impersonated(&caller, headers)?;
        if let Some(other) = &other {
            observed.impersonated(other);
        }
        Ok(other.unwrap_or(caller))
    }

    async fn objects(self: &Arc<Self>, target: Target, call: Call) -> Result<Answer, Status> {
        let writes_definitions =
            call.method != Method::GET && target.served.kind.is(definitions::GROUP, definitions::KIND);
        let deprecation = target.served.kind.custom().and_then(CustomKind::deprecation).map(str::to_owned);
        let answer = self.on_objects(target, call).await?;
        if writes_definitions {
            // Who made a kind may use it at once.
            self.settle_definitions().await?;
        }
        Ok(write::with_warnings(answer, deprecation.as_slice()))
    }

    async fn on_objects(self: &Arc<Self>, target: Target, call: Call) -> Result<Answer, Status> {
        let named = !target.name.is_empty();
        match (target.part, &call.method, named) {
            (Part::Session(session), &Method::GET | &Method::POST, true) => {
                self.session(session, &target, &call).await
            }
            (Part::Log, &Method::GET, true) => self.log(&target, &call).await,
            (Part::Scale, &Method::GET, true) => self.read_scale(&target),
            (Part::Scale, &Method::PUT | &Method::PATCH, true) => self.write_scale(&target, &call).await,
            (Part::Whole, &Method::POST, false) if target.served.kind.is_review() => {
                self.review(&target, &call)
            }
            _ if target.served.kind.is_review() => Err(Status::method_not_allowed()),
            (Part::Token, &Method::POST, true) => self.token(&target, &call),
            (Part::Binding, &Method::POST, true) => self.bind(&target, &call).await,
            (Part::Eviction, &Method::POST, true) => self.evict(&target, &call).await,
            (Part::Finalize, &Method::PUT, true) => self.update(&target, &call).await,
            (Part::Whole | Part::Status, &Method::GET, true) => self.read_one(&target, &call),
            (Part::Whole | Part::Status, &Method::PUT, true) => self.update(&target, &call).await,
            (Part::Whole | Part::Status, &Method::PATCH, true) => self.patch(&target, &call).await,
            (Part::Whole, &Method::DELETE, true) => self.delete_one(&target, &call).await,
            (Part::Whole, &Method::GET, false) if target::is_watch(&call.query) => {
                self.watch(&target, &call).await
            }
            (Part::Whole, &Method::GET, false) => self.list(&target, &call).await,
            (Part::Whole, &Method::POST, false) => self.create(&target, &call).await,
            (Part::Whole, &Method::DELETE, false) => self.delete_collection(&target, &call).await,
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// The kinds that are served now; a request goes on with those it began with.
    fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.borrow())
    }

    fn context(&self, dry_run: bool) -> Context<'_> {
        Context { now: Timestamp::now(), allocation: &self.allocation, dry_run }
    }

    /// The store, for what works beside the requests.
    pub(crate) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }
}

fn too_slow() -> Status {
    Status::timeout("Timeout: request did not complete within the allotted timeout")
}

/// Kubernetes' answer where nothing is. In a group that is served it is a Status without details, by which kubectl knows
/// that a subresource is missing; elsewhere clients make the message themselves, and name what was asked for.
fn nothing_at(path: &str, registry: &Registry) -> Result<Answer, Status> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let place = match (segments.next(), segments.next(), segments.next()) {
        (Some("api"), Some(version), _) => Some(("", version)),
        (Some("apis"), Some(group), Some(version)) => Some((group, version)),
        _ => None,
    };
    match place {
        Some((group, version)) if registry.served_in(group, version).next().is_some() => {
            Err(Status::unknown_path())
        }
        _ => Ok(no_such_page()),
    }
}

/// The page of a web server that has nothing there.
fn no_such_page() -> Answer {
    let mut answer = json_bytes(StatusCode::NOT_FOUND, Bytes::from_static(b"404 page not found\n"));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn documents(route: &Route, call: &Call, registry: &Registry, openapi: &Documents) -> Result<Answer, Status> {
    if call.method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    match route {
        Route::Root => Ok(discovery::paths(registry)),
        Route::CoreVersions => discovery::core_versions(registry, &call.headers),
        Route::Groups => discovery::groups(registry, &call.headers),
        Route::Group(group) => discovery::group(registry, group),
        Route::Resources { group, version } => discovery::resources(registry, group, version),
        Route::OpenApiIndex => openapi.index(registry, &call.headers),
        Route::OpenApi { group, version } => {
            openapi.answer(registry, (group, version), &call.headers, &call.query)
        }
        Route::OpenApiV2 => openapi::version_2(&call.headers),
        Route::NoReplicationControllers => {
            let none =
                json!({"kind": "ReplicationControllerList", "apiVersion": "v1", "metadata": {}, "items": []});
            Ok(json_answer(StatusCode::OK, &none))
        }
        Route::Version => Ok(discovery::version()),
        Route::Health(..) | Route::OpenId | Route::OpenIdKeys | Route::Objects(_) => {
            Err(Status::unknown_path())
        }
    }
}

/// How a failed write is told, when retrying is over.
fn write_failed(kind: &Kind, name: &str, error: &WriteError) -> Status {
    match error {
        WriteError::Exists => Status::already_exists(&kind.group, &kind.plural, name),
        WriteError::Missing => Status::not_found(&kind.group, &kind.plural, name),
        WriteError::Modified => Status::modified(&kind.group, &kind.plural, name),
        WriteError::NoMetadata => Status::bad_request("the object has no metadata"),
        WriteError::Disk(source) => Status::internal(format!("{error}: {source}")),
        WriteError::Closed => Status::unavailable("the server is shutting down"),
    }
}

/// 200, or 201 for what is new.
fn done(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}
