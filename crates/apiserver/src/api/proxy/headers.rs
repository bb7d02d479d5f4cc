//! Headers of proxied requests and answers: what goes through, what is for this hop only, what is rewritten.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::place::Place;
use crate::status::Status;

/// Headers that are for one hop (RFC 9110 7.6.1, and those that Go's reverse proxy adds to the list).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Who may use the answer is for this server to say, not for the pod.
const CROSS_ORIGIN: &str = "access-control-";
/// Whom the caller acts for is told to this server, not to the pod.
const IMPERSONATE: &str = "impersonate-";

/// What the connection is to become, when it is to become something.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wanted).cloned()
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers).filter_map(|token| token.parse().ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn remove_starting(headers: &mut HeaderMap, start: &str) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(start)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn switch_to(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Makes the headers of the client's request those of the request to the pod. `path` is what the client asked for.
pub(super) fn for_pod(
    headers: &mut HeaderMap,
    uri: &Uri,
    path: &str,
    upgrade: Option<&HeaderValue>,
) -> Result<(), Status> {
    remove_hop_by_hop(headers);
    // The caller's credentials are for this server alone.
    headers.remove(header::AUTHORIZATION);
    remove_starting(headers, IMPERSONATE);
    headers.insert("x-forwarded-uri", HeaderValue::try_from(path).map_err(Status::internal)?);
    // HTTP/2 says the host in the address.
    if let Some(authority) = uri.authority()
        && !headers.contains_key(header::HOST)
    {
        headers.insert(header::HOST, HeaderValue::try_from(authority.as_str()).map_err(Status::internal)?);
    }
    // Cookies come in pieces over HTTP/2 (RFC 9113 8.2.3) and in one over HTTP/1.
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1 {
        let whole = HeaderValue::from_bytes(&cookies.join(&b"; "[..])).map_err(Status::internal)?;
        headers.insert(header::COOKIE, whole);
    }
    if let Some(protocol) = upgrade {
        switch_to(headers, protocol.clone());
    }
    Ok(())
}

/// Makes the headers of the pod's answer those of the answer to the client. `prefix` is the path of the proxy.
pub(super) fn for_client(
    headers: &mut HeaderMap,
    prefix: &str,
    place: &Place,
    switched: bool,
) -> Result<(), Status> {
    let protocol = headers.get(header::UPGRADE).filter(|_| switched).cloned();
    remove_hop_by_hop(headers);
    remove_starting(headers, CROSS_ORIGIN);
    if let Some(location) = headers.get(header::LOCATION) {
        let text = location
            .to_str()
            .map_err(|error| Status::internal(format!("failed to parse Location header: {error}")))?;
        let rewritten = HeaderValue::try_from(rewritten(text, prefix, place)).map_err(Status::internal)?;
        headers.insert(header::LOCATION, rewritten);
    }
    if let Some(protocol) = protocol {
        switch_to(headers, protocol);
    }
    Ok(())
}

/// Where a redirection of the pod leads to seen from outside: an absolute path, or an address of the pod itself, is below
/// the proxy; other places and relative ones are what they are.
pub(super) fn rewritten(location: &str, prefix: &str, place: &Place) -> String {
    let path = match location.split_once("://") {
        Some(("http" | "https", rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            let bare = host == place.address.ip().to_string()
                && place.address.port() == if place.secure { 443 } else { 80 };
            if host != place.address.to_string() && !bare {
                return location.to_owned();
            }
            path
        }
        Some(_) => return location.to_owned(),
        // `//host/path` names another host.
        None if location.starts_with("//") || !location.starts_with('/') => return location.to_owned(),
        None => location,
    };
    if path.starts_with(prefix) {
        return path.to_owned();
    }
    let separator = if path.starts_with('/') { "" } else { "/" };
    format!("{prefix}{separator}{path}")
}
