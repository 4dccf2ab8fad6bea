//! Headers that concern one connection only, removed as Envoy removes them; and the request as the
//! model is to see it.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use twinmesh_engine::Request;

use super::ConnectionInfo;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Whether a comma-separated header has a token, in any case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        let mut tokens = value.split(',');
        tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
    })
}

/// The upgrade that a request asks for, in lower case, as Envoy sees it: `Connection` names it,
/// and it is not h2c, which is ignored.
pub fn upgrade(parts: &Parts) -> Option<String> {
    if !has_token(&parts.headers, &CONNECTION, "upgrade") {
        return None;
    }
    let kind = parts.headers.get(UPGRADE)?.to_str().ok()?;
    let kind = kind.trim().to_ascii_lowercase();
    (kind != "h2c" && !kind.is_empty()).then_some(kind)
}

/// What `Connection` says, as far as it changes what the request is.
fn sanitize(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    if has_token(headers, &CONNECTION, "te") && !has_token(headers, &TE, "trailers") {
        headers.remove(TE);
    }
    if has_token(headers, &UPGRADE, "h2c") {
        headers.remove(UPGRADE);
        headers.remove(HTTP2_SETTINGS);
    }
}

/// Tokens of `Connection` that the proxy acts on itself; any other names a header that Envoy would
/// take away, which is left to the model to refuse.
const KNOWN: [&str; 5] = ["close", "keep-alive", "te", "upgrade", "http2-settings"];

fn is_known(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().all(|value| {
        let mut tokens = value.to_str().unwrap_or("?").split(',').map(str::trim);
        tokens.all(|token| {
            token.is_empty() || KNOWN.iter().any(|known| known.eq_ignore_ascii_case(token))
        })
    })
}

/// The request as the model is to see it. `Connection` is left out where all that it says is acted
/// on already.
pub fn seen(parts: &mut Parts, info: &ConnectionInfo) -> Request {
    let known = is_known(&parts.headers);
    if known {
        sanitize(&mut parts.headers);
    }
    let uri = &parts.uri;
    let path = match (uri.scheme(), uri.path_and_query()) {
        (None, Some(path)) => path.as_str().to_owned(),
        _ => uri.to_string(),
    };
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut authority = None;
    let mut headers = Vec::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        if name == HOST && authority.is_none() {
            authority = Some(text(value));
        } else if !(known && name == CONNECTION) {
            headers.push((name.as_str().to_owned(), text(value)));
        }
    }
    Request {
        id: String::new(),
        method: parts.method.as_str().to_owned(),
        scheme: "http".to_owned(),
        authority,
        path,
        headers,
        source: Some(info.source),
        destination: Some(info.destination),
        listener: info.listener.as_deref().map(str::to_owned),
        route_config: None,
        sni: None,
        alpn: None,
        tls: None,
        random: None,
        time_us: None,
        duration_us: 0,
        connection: None,
    }
}

/// A connection's request, before there is a head.
pub fn connection(info: &ConnectionInfo) -> Request {
    Request {
        id: String::new(),
        method: "GET".to_owned(),
        scheme: "http".to_owned(),
        authority: None,
        path: "/".to_owned(),
        headers: Vec::new(),
        source: Some(info.source),
        destination: Some(info.destination),
        listener: info.listener.as_deref().map(str::to_owned),
        route_config: None,
        sni: None,
        alpn: None,
        tls: None,
        random: None,
        time_us: None,
        duration_us: 0,
        connection: None,
    }
}

/// Takes from a request what the endpoint is not to see. With `upgrade`, Connection and Upgrade
/// are the request's point and stay.
pub fn request_to_endpoint(headers: &mut HeaderMap, upgrade: bool) {
    if !upgrade {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    // The proxy itself tells the client to go on.
    headers.remove(EXPECT);
    if headers.contains_key(TE) {
        if has_token(headers, &TE, "trailers") {
            headers.insert(TE, http::HeaderValue::from_static("trailers"));
        } else {
            headers.remove(TE);
        }
    }
}

/// Takes from a response what the client is not to see.
pub fn response_to_client(headers: &mut HeaderMap, upgrade: bool) {
    if !upgrade {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    if headers.remove(TRANSFER_ENCODING).is_some() {
        headers.remove(CONTENT_LENGTH);
    }
}
