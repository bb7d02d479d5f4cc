//! Acting as somebody else: `kubectl --as` (`apiserver/pkg/endpoints/filters/impersonation.go`).

use std::collections::BTreeMap;

use http::HeaderMap;

use super::attributes::{Attributes, Subject};
use super::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User};
use crate::http::decode;
use crate::status::Status;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Whom a request wants to act as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted(User);

/// Reads the headers; `None` when the caller acts as itself.
///
/// # Errors
/// 400 when a header cannot be read, or groups are named without a user.
pub(super) fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>, Status> {
    let texts = |name: &str| -> Result<Vec<String>, Status> {
        let values = headers.get_all(name).iter();
        let read = |value: &http::HeaderValue| value.to_str().map(str::to_owned);
        values.map(read).collect::<Result<_, _>>().map_err(|_| {
            Status::bad_request(format!("the header {name} holds bytes that are not ASCII text"))
        })
    };
    let first = |name: &str| texts(name).map(|list| list.into_iter().next().unwrap_or_default());
    let (name, uid, groups) = (first(USER)?, first(UID)?, texts(GROUP)?);
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in headers.keys().filter_map(|header| header.as_str().strip_prefix(EXTRA)) {
        extra.insert(decode(header), texts(&format!("{EXTRA}{header}"))?);
    }
    if name.is_empty() {
        let nothing = uid.is_empty() && groups.is_empty() && extra.is_empty();
        return if nothing {
            Ok(None)
        } else {
            Err(Status::bad_request("requested groups, a uid or extra fields without impersonating a user"))
        };
    }
    Ok(Some(Wanted(User { name, uid, groups, extra })))
}

impl Wanted {
    /// What the caller must be allowed to do.
    pub(super) fn needs(&self) -> Vec<Attributes> {
        const OWN_GROUP: &str = "authentication.k8s.io";
        let one = |group: &str, resource: &str, name: &str| {
            Attributes::object("impersonate", group, resource, "", name)
        };
        let user = &self.0;
        let mut out = vec![match user.as_service_account() {
            Some((namespace, name)) => {
                Attributes::object("impersonate", "", "serviceaccounts", namespace, name)
            }
            None => one("", "users", &user.name),
        }];
        out.extend(user.groups.iter().map(|name| one("", "groups", name)));
        if !user.uid.is_empty() {
            out.push(one(OWN_GROUP, "uids", &user.uid));
        }
        for (key, value) in
            user.extra.iter().flat_map(|(key, list)| list.iter().map(move |value| (key, value)))
        {
            let mut attributes = one(OWN_GROUP, "userextras", value);
            if let Subject::Resource { subresource, .. } = &mut attributes.subject {
                subresource.clone_from(key);
            }
            out.push(attributes);
        }
        out
    }

    /// The user, with the groups that such users have by themselves.
    pub(super) fn into_user(self) -> User {
        let mut user = self.0;
        if user.groups.is_empty()
            && let Some((namespace, name)) = user.as_service_account()
        {
            user.groups = User::service_account(namespace, name, "").groups;
        }
        let own = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !user.is_in(own) {
            user.groups.push(own.to_owned());
        }
        user
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&str, &str)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        let mut out = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            out.append(name, value);
        }
        out
    }

    #[test]
    fn each_part_of_the_other_user_needs_its_own_right() {
        assert_eq!(wanted(&HeaderMap::new()).unwrap(), None);
        let pairs = [
            (USER, "ann"),
            (GROUP, "a"),
            (GROUP, "b"),
            (UID, "7"),
            ("impersonate-extra-example.com%2fteam", "x"),
        ];
        let found = wanted(&headers(&pairs)).unwrap().unwrap();
        let shown: Vec<String> =
            found.needs().iter().map(|need| need.forbidden(&User::anonymous(), "").message).collect();
        assert!(
            shown[0].starts_with(r#"users "ann" is forbidden: User "system:anonymous" cannot impersonate"#),
            "{shown:?}"
        );
        assert_eq!(shown.len(), 5);
        assert!(shown[4].contains(r#"resource "userextras/example.com/team""#), "{shown:?}");
        assert_eq!(found.into_user().groups, ["a", "b", AUTHENTICATED]);
        assert_eq!(wanted(&headers(&[(GROUP, "a")])).unwrap_err().code, 400);
    }

    #[test]
    fn service_accounts_bring_their_groups() {
        let user = wanted(&headers(&[(USER, "system:serviceaccount:x:y")])).unwrap().unwrap();
        assert_eq!(user.needs(), [Attributes::object("impersonate", "", "serviceaccounts", "x", "y")]);
        assert_eq!(
            user.into_user().groups,
            ["system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"]
        );
    }
}
