//! HAR 1.2.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use twinmesh_engine::Request;

use super::reading::{Found, Reading, check};
use super::time;

/// Reads a HAR.
///
/// # Errors
/// It is not JSON, or has no `log.entries`.
pub fn read(bytes: &[u8]) -> Result<Reading, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let har: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("not valid JSON: {error}"))?;
    let entries = har
        .pointer("/log/entries")
        .and_then(Value::as_array)
        .ok_or("log.entries: expected an array: it is no HAR")?;
    let mut reading = Reading::default();
    for (index, entry) in entries.iter().enumerate() {
        let place = format!("log.entries[{index}]");
        if let Err((field, problem)) = add(&mut reading, index, entry) {
            reading.bad(format!(" {place}.{field}"), problem);
        }
    }
    Ok(reading)
}

type Problem = (&'static str, String);

fn add(reading: &mut Reading, index: usize, entry: &Value) -> Result<(), Problem> {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
    let url = text("/request/url").ok_or(("request.url", "expected a string".to_owned()))?;
    let method =
        text("/request/method").ok_or(("request.method", "expected a string".to_owned()))?;
    let Some(url) = Url::split(url) else {
        reading
            .notes
            .count("entries are of no http or https URL, and are left out");
        return Ok(());
    };
    let mut request = Request {
        id: format!("entry-{index}"),
        ..Request::default()
    };
    request.method = method.to_owned();
    request.path = url.path;
    request.scheme = url.scheme.to_owned();
    let headers = entry
        .pointer("/request/headers")
        .and_then(Value::as_array)
        .map_or(&[] as &[Value], Vec::as_slice);
    let mut authority = None;
    for header in headers {
        let part = |name| header.get(name).and_then(Value::as_str);
        let (Some(name), Some(value)) = (part("name"), part("value")) else {
            return Err(("request.headers", "expected name and value".to_owned()));
        };
        if name.eq_ignore_ascii_case("host") || name == ":authority" {
            if authority.as_deref().is_some_and(|other| other != value) {
                return Err(("request.headers", "it has two Host headers".to_owned()));
            }
            authority = Some(value.to_owned());
        } else if !name.starts_with(':') {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    if authority.is_none() {
        reading
            .notes
            .count("requests have no Host in their headers: it is the URL's");
    }
    let port: u16 = match &url.port {
        Some(port) => port
            .parse()
            .map_err(|_| ("request.url", format!("`{port}` is no port")))?,
        None if url.scheme == "https" => 443,
        None => 80,
    };
    request.authority = Some(authority.unwrap_or(url.authority));
    if url.scheme == "https" {
        request.tls = Some(true);
        let is_name = url.host.parse::<IpAddr>().is_err() && !url.host.starts_with('[');
        request.sni = is_name.then_some(url.host);
    }
    let server = text("/serverIPAddress").map(|ip| ip.trim_matches(['[', ']']));
    request.destination = server
        .and_then(|ip| ip.parse().ok())
        .map(|ip| SocketAddr::new(ip, port));
    request.connection = text("/connection")
        .filter(|connection| !connection.is_empty())
        .map(str::to_owned);
    let time_us = match text("/startedDateTime") {
        Some(text) => Some(time::parse(text).map_err(|problem| ("startedDateTime", problem))?),
        None => None,
    };
    let duration = entry.get("time").and_then(Value::as_f64);
    request.duration_us = duration.and_then(time::microseconds).unwrap_or(0);
    check(&request).map_err(|problem| ("request", problem))?;
    let protocol = text("/request/httpVersion").unwrap_or_default();
    if !matches!(protocol.to_ascii_lowercase().as_str(), "" | "http/1.1") {
        reading.notes.count(&format!(
            "requests came by {protocol}: they are replayed as HTTP/1.1"
        ));
    }
    for (sentence, is_so) in [
        ("requests have no source in a HAR", true),
        ("requests have no random number: replay draws it", true),
        (
            "requests have no destination: serverIPAddress is missing",
            request.destination.is_none(),
        ),
        ("requests have no connection", request.connection.is_none()),
        (
            "requests have no time: each arrives with the one before it",
            time_us.is_none(),
        ),
        ("requests have a body, which is left out", has_body(entry)),
    ] {
        if is_so {
            reading.notes.count(sentence);
        }
    }
    reading.found.push(Found { request, time_us });
    Ok(())
}

fn has_body(entry: &Value) -> bool {
    entry
        .pointer("/request/bodySize")
        .and_then(Value::as_i64)
        .is_some_and(|size| size > 0)
}

/// The parts of a URL.
struct Url {
    scheme: &'static str,
    /// Host and port, as they stand.
    authority: String,
    host: String,
    port: Option<String>,
    /// With its query, without its fragment.
    path: String,
}

impl Url {
    /// `None` where it is no URL of HTTP.
    fn split(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => "http",
            "https" => "https",
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let authority = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let (host, port) = match authority.rfind(':') {
            Some(colon) if !authority.get(colon..)?.contains(']') => {
                (authority.get(..colon)?, authority.get(colon + 1..))
            }
            _ => (authority, None),
        };
        if host.is_empty() {
            return None;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(Self {
            scheme,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: port.filter(|port| !port.is_empty()).map(str::to_owned),
            path: format!("{slash}{path}"),
        })
    }
}
