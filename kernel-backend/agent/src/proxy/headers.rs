//! Headers that concern one connection only, removed as Envoy removes them; and the request as the
//! model is to see it.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use twinmesh_engine::Request;

use super::{ConnectionInfo, heads};

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

/// Whether a request is gRPC's, as Envoy sees it.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    // Envoy joins repeated lines with commas, and empty ones leave no trace.
    let lines = headers.get_all(CONTENT_TYPE).iter();
    let lines: Vec<&[u8]> = lines
        .map(http::HeaderValue::as_bytes)
        .filter(|line| !line.is_empty())
        .collect();
    super::is_grpc(&lines.join(&b','))
}

/// The upgrade that a request asks for, in lower case, as Envoy sees it: `Connection` names it,
/// and it is not h2c alone, which is ignored. It may be empty, and is refused then.
pub fn upgrade(headers: &HeaderMap) -> Option<String> {
    if !has_token(headers, &CONNECTION, "upgrade") {
        return None;
    }
    let kind = headers.get(UPGRADE)?.to_str().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    (kind != "h2c").then_some(kind)
}

/// Values of `Connection` that Envoy does not take at once.
const TOKENS: usize = 10;
/// Bytes of TE that it does not take where `Connection` names it.
const TE_BYTES: usize = 256;
/// Values of `Connection` that name no header.
const NO_NAMES: [&str; 5] = [
    "close",
    "connection",
    "http2-settings",
    "keep-alive",
    "upgrade",
];
/// Headers that nobody may have taken away.
const KEPT: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Takes away what `Connection` names, as Envoy does, and gives the names. `Connection` itself
/// stays for whoever looks for `close`.
fn sanitize(headers: &mut HeaderMap) -> Result<Vec<HeaderName>, &'static str> {
    let mut gone = Vec::new();
    if !headers.contains_key(CONNECTION) || upgrade(headers).is_some() {
        return Ok(gone);
    }
    let values = headers.get_all(CONNECTION).iter();
    let values: Vec<String> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
        .collect();
    let tokens = values.iter().flat_map(|value| value.split(','));
    let tokens: Vec<&str> = tokens
        .map(str::trim)
        .filter(|token| !token.is_empty())
        .collect();
    if tokens.len() >= TOKENS {
        return Err("Connection names too many headers");
    }
    for token in tokens {
        if NO_NAMES.contains(&token) {
            continue;
        }
        if token.starts_with(':') || KEPT.contains(&token) {
            return Err("Connection names a header that may not be taken away");
        }
        if token == "te" {
            let bytes = headers.get_all(TE).iter().map(http::HeaderValue::len);
            if bytes.sum::<usize>() >= TE_BYTES {
                return Err("Connection names TE, which is too long");
            }
            if has_token(headers, &TE, "trailers") {
                continue;
            }
        }
        if let Ok(name) = HeaderName::from_bytes(token.as_bytes()) {
            headers.remove(&name);
            gone.push(name);
        }
    }
    if headers.remove(UPGRADE).is_some() {
        headers.remove(HTTP2_SETTINGS);
        gone.extend([UPGRADE, HTTP2_SETTINGS]);
    }
    Ok(gone)
}

/// The request as the model is to see it, from the bytes of its head: `Connection` has been acted
/// on.
///
/// # Errors
/// `Connection` says what Envoy refuses, or hyper read another request than the bytes say.
pub fn seen(
    parts: &mut Parts,
    head: &[u8],
    info: &ConnectionInfo,
) -> Result<Request, &'static str> {
    let gone = sanitize(&mut parts.headers)?;
    let Some((method, target)) = heads::request_line(head) else {
        return Err("the request line is not `METHOD target HTTP/1.x`");
    };
    if method != parts.method.as_str() || !is_target(target, &parts.uri) {
        return Err("the request is read in two ways");
    }
    let mut request = connection(info);
    request.method = method.to_owned();
    request.path = target.to_owned();
    request.headers.reserve(parts.headers.len());
    for (name, value) in heads::fields(head) {
        let is = |other: &HeaderName| name.eq_ignore_ascii_case(other.as_str());
        if is(&HOST) && request.authority.is_none() && !gone.contains(&HOST) {
            request.authority = Some(value);
            continue;
        }
        if !is(&CONNECTION) && !gone.iter().any(is) {
            request.headers.push((name, value));
        }
    }
    Ok(request)
}

/// Whether hyper's reading of a target is one of these bytes.
fn is_target(target: &str, uri: &http::Uri) -> bool {
    let target = target.split('#').next().unwrap_or_default();
    match (uri.scheme(), uri.path_and_query()) {
        (None, Some(path)) => target == path.as_str(),
        // Authority form.
        (None, None) => uri
            .authority()
            .is_some_and(|authority| target == authority.as_str()),
        (Some(_), path) => path.is_none_or(|path| {
            target.ends_with(path.as_str())
                || target.ends_with(path.as_str().trim_start_matches('/'))
        }),
    }
}

/// A connection's request, before there is a head.
pub fn connection(info: &ConnectionInfo) -> Request {
    Request {
        source: Some(info.source),
        destination: Some(info.destination),
        listener: info.listener.as_deref().map(str::to_owned),
        ..Request::default()
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
