//! Who calls, and what they may do.
//!
//! In: a request's credentials and its path. Out: a [`User`], and the decision whether that user may do it.
//!
//! ```text
//! certificate, bearer token ─► User ─► impersonation ─► Attributes (verb, resource, namespace, …)
//!                                                             │
//! store: roles, bindings ─► Index (compiled, kept current) ─► Decision
//! ```
//!
//! [`attributes`], [`rule`] and [`index`] are pure. Nothing here is proportional to the number of objects of the cluster:
//! a request looks at the bindings of its own user and groups.

mod aggregation;
mod attributes;
mod authentication;
pub(crate) mod bootstrap;
mod escalation;
mod impersonation;
mod index;
mod node;
mod rbac;
mod rule;
mod tokens;
mod user;

use std::sync::Arc;

use http::HeaderMap;

pub(crate) use aggregation::{aggregate, keep_aggregated};
pub(crate) use attributes::{Attributes, Subject};
pub(crate) use escalation::Grant;
pub(crate) use index::Decision;
pub(crate) use node::{NodeChange, restrict};
pub(crate) use rbac::Rbac;
pub(crate) use rule::Rule;
pub use tokens::TokenKeyError;
pub(crate) use tokens::{Bound, Claims, ISSUER, LEGACY_ISSUER, Reference, Tokens};
pub(crate) use user::User;

use crate::config::ServeError;
use crate::status::Status;
use crate::store::Store;

/// Authentication and authorization of one server.
pub(crate) struct Access {
    rbac: Rbac,
    tokens: Tokens,
    store: Arc<Store>,
}

impl Access {
    /// Reads the roles and bindings that are stored. `token_key` signs tokens.
    ///
    /// # Errors
    /// When the store cannot be read, or the key is none.
    pub(crate) fn new(store: &Arc<Store>, token_key: &str) -> Result<Self, ServeError> {
        let (rbac, tokens) = (Rbac::new(Arc::clone(store))?, Tokens::new(token_key)?);
        Ok(Self { rbac, tokens, store: Arc::clone(store) })
    }

    /// Who calls, by the credentials shown.
    ///
    /// # Errors
    /// 401 for a token that is not good.
    pub(crate) fn caller(
        &self,
        certificate: Option<Arc<User>>,
        headers: &HeaderMap,
    ) -> Result<Arc<User>, Status> {
        match certificate {
            Some(user) => Ok(user),
            None => Ok(self.bearer(headers)?.unwrap_or_else(|| Arc::new(User::anonymous()))),
        }
    }

    /// Whom the caller acts as; `None` when it acts as itself.
    ///
    /// # Errors
    /// 403 when the caller may not act as the user that it names, 400 when the headers cannot be read.
    pub(crate) fn impersonated(
        &self,
        caller: &User,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<User>>, Status> {
        let Some(wanted) = impersonation::wanted(headers)? else { return Ok(None) };
        for attributes in wanted.needs() {
            self.require(caller, &attributes)?;
        }
        Ok(Some(Arc::new(wanted.into_user())))
    }

    /// Whether the user may do it.
    pub(crate) fn decide(&self, user: &User, attributes: &Attributes) -> Decision {
        self.rbac.decide(user, attributes)
    }

    /// As [`Self::decide`].
    ///
    /// # Errors
    /// 403, in Kubernetes' words.
    pub(crate) fn require(&self, user: &User, attributes: &Attributes) -> Result<(), Status> {
        match self.decide(user, attributes) {
            Decision { allowed: true, .. } => Ok(()),
            Decision { reason, .. } => Err(attributes.forbidden(user, &reason)),
        }
    }

    /// What signs and checks tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The roles and bindings.
    pub(crate) fn rbac(&self) -> &Rbac {
        &self.rbac
    }
}
