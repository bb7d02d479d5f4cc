//! What a connection is switched over to, and the answer that says so.

use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::{Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{SessionError, listed};

const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Channels of a WebSocket, best first. The fifth version can end standard input alone.
const COMMAND_CHANNELS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Streams of a SPDY connection. The fourth version reports exit codes; clients have it since 2016.
const COMMAND_STREAMS: &[&str] = &["v4.channel.k8s.io"];
/// A tunnel for SPDY, or a pair of channels for each port that the request names: client libraries do that.
const PORT_CHANNELS: &[&str] = &["SPDY/3.1+portforward.k8s.io", CHANNEL_PAIRS];
/// The protocol of [`super::channels`].
pub(super) const CHANNEL_PAIRS: &str = "v4.channel.k8s.io";
const PORT_STREAMS: &[&str] = &["portforward.k8s.io"];

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// RFC 6455.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

/// What was agreed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upgrade {
    /// How bytes travel.
    pub(super) wire: Wire,
    /// What they mean.
    pub(super) protocol: &'static str,
}

/// For exec and attach.
pub(super) fn commands(headers: &HeaderMap) -> Result<(Upgrade, Response<()>), SessionError> {
    negotiate(headers, COMMAND_CHANNELS, COMMAND_STREAMS)
}

/// For port-forward.
pub(super) fn ports(headers: &HeaderMap) -> Result<(Upgrade, Response<()>), SessionError> {
    negotiate(headers, PORT_CHANNELS, PORT_STREAMS)
}

fn negotiate(
    headers: &HeaderMap,
    channels: &[&'static str],
    streams: &[&'static str],
) -> Result<(Upgrade, Response<()>), SessionError> {
    let wanted = listed(headers, UPGRADE.as_str());
    let wants = |name: &str| wanted.iter().any(|word| word.eq_ignore_ascii_case(name));
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if wants("websocket") {
        let key = headers
            .get(WEBSOCKET_KEY)
            .ok_or_else(|| SessionError::Request("the WebSocket request has no key".to_owned()))?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
            .map_err(|error| SessionError::Request(error.to_string()))?;
        let protocol = choose(channels, &listed(headers, WEBSOCKET_PROTOCOL.as_str()))?;
        answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        answer.headers_mut().insert(WEBSOCKET_ACCEPT, accept);
        answer.headers_mut().insert(WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        return Ok((Upgrade { wire: Wire::WebSocket, protocol }, answer));
    }
    if wants("SPDY/3.1") {
        let protocol = choose(streams, &listed(headers, STREAM_PROTOCOL.as_str()))?;
        answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        answer.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
        return Ok((Upgrade { wire: Wire::Spdy, protocol }, answer));
    }
    Err(SessionError::Request("Upgrade request required: websocket or SPDY/3.1".to_owned()))
}

/// The first of ours that the client knows.
fn choose(ours: &[&'static str], theirs: &[String]) -> Result<&'static str, SessionError> {
    ours.iter().copied().find(|protocol| theirs.iter().any(|word| word == protocol)).ok_or_else(|| {
        SessionError::Request(format!(
            "unable to negotiate a protocol: client supports {theirs:?}, server accepts {ours:?}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_best_common_protocol_is_chosen() {
        let asked = headers(&[
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v4.channel.k8s.io, v5.channel.k8s.io"),
        ]);
        let (upgrade, answer) = commands(&asked).unwrap();
        assert_eq!(upgrade.wire, Wire::WebSocket);
        assert_eq!(answer.headers()[WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
        // The example of RFC 6455, section 1.3.
        assert_eq!(answer.headers()[WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let asked = headers(&[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "portforward.k8s.io")]);
        assert_eq!(ports(&asked).unwrap().0.wire, Wire::Spdy);
    }

    #[test]
    fn what_is_not_spoken_is_refused() {
        for pairs in [
            &[][..],
            &[("upgrade", "h2c")],
            &[("upgrade", "websocket"), ("sec-websocket-protocol", "v5.channel.k8s.io")],
            &[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "channel.k8s.io")],
        ] {
            assert!(commands(&headers(pairs)).is_err(), "{pairs:?}");
        }
    }
}
