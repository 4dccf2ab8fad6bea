//! What a value of an access log stands for, and how it gets into a request.

use twinmesh_engine::{Request, request::parse_connection_end};

use super::reading::{Found, Notes, Reading, check};
use super::time;

/// What a value stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The method.
    Method,
    /// The scheme.
    Scheme,
    /// The authority.
    Authority,
    /// The path, with its query.
    Path,
    /// The connection's peer, as `ip:port`.
    Source,
    /// What the connection asked for, as `ip:port`.
    Destination,
    /// The listener's name.
    Listener,
    /// The route configuration's name.
    RouteConfig,
    /// Server name of the ClientHello.
    Sni,
    /// Any value: the connection is TLS.
    Tls,
    /// When the request arrived.
    Time,
    /// How long it took, in milliseconds.
    DurationMs,
    /// How long it took, in microseconds.
    DurationUs,
    /// What requests of one connection share.
    Connection,
    /// The protocol.
    Protocol,
    /// A request header.
    Header(String),
    /// Nothing.
    Ignored,
}

/// A key of a log, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The key; dots go into objects.
    pub key: String,
    /// What it stands for.
    pub field: Field,
}

/// Reads `key=field`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_mapping(text: &str) -> Result<Mapping, String> {
    let (key, field) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or("expected `key=field`")?;
    let field = match field {
        "method" => Field::Method,
        "scheme" => Field::Scheme,
        "authority" => Field::Authority,
        "path" => Field::Path,
        "source" => Field::Source,
        "destination" => Field::Destination,
        "listener" => Field::Listener,
        "route_config" => Field::RouteConfig,
        "sni" => Field::Sni,
        "tls" => Field::Tls,
        "time" => Field::Time,
        "duration_ms" => Field::DurationMs,
        "duration_us" => Field::DurationUs,
        "connection" => Field::Connection,
        "protocol" => Field::Protocol,
        "ignored" => Field::Ignored,
        other => match other.strip_prefix("header:") {
            Some(name) if !name.is_empty() && !name.starts_with(':') => {
                Field::Header(name.to_ascii_lowercase())
            }
            _ => {
                return Err(format!(
                    "no field is called `{other}`: expected method, scheme, authority, path, \
                     source, destination, listener, route_config, sni, tls, time, duration_ms, \
                     duration_us, connection, protocol, ignored or header:NAME"
                ));
            }
        },
    };
    Ok(Mapping {
        key: key.to_owned(),
        field,
    })
}

/// Makes a request of one line's values and adds it. Of values for one field the first counts;
/// an empty one, or `-`, is none.
pub fn add(reading: &mut Reading, line: usize, values: &[(Field, String)]) {
    let mut request = Request {
        id: format!("line-{line}"),
        ..Request::default()
    };
    let mut notes = Notes::default();
    let value = |field: &Field| {
        values
            .iter()
            .filter(|(other, _)| other == field)
            .map(|(_, value)| value.as_str())
            .find(|value| !matches!(*value, "" | "-"))
    };
    let Some(method) = value(&Field::Method) else {
        reading
            .notes
            .count("lines are of no HTTP request, and are left out");
        return;
    };
    request.method = method.to_owned();
    let Some(path) = value(&Field::Path) else {
        reading.bad(line, "it has a method and no path");
        return;
    };
    request.path = path.to_owned();
    if let Some(scheme) = value(&Field::Scheme) {
        request.scheme = scheme.to_owned();
    }
    request.authority = value(&Field::Authority).map(str::to_owned);
    for (field, end) in [
        (Field::Source, &mut request.source),
        (Field::Destination, &mut request.destination),
    ] {
        if let Some(text) = value(&field) {
            *end = parse_connection_end(text).ok();
            if end.is_none() {
                notes.count("addresses are no ip:port, and are left out");
            }
        }
    }
    request.listener = value(&Field::Listener).map(str::to_owned);
    request.route_config = value(&Field::RouteConfig).map(str::to_owned);
    request.sni = value(&Field::Sni).map(str::to_owned);
    request.tls = value(&Field::Tls).map(|_| true);
    request.connection = value(&Field::Connection).map(str::to_owned);
    let time_us = match value(&Field::Time).map(time::parse) {
        Some(Ok(time)) => Some(time),
        Some(Err(problem)) => {
            reading.bad(line, problem);
            return;
        }
        None => {
            notes.count("requests have no time: each arrives with the one before it");
            None
        }
    };
    match duration(value(&Field::DurationUs), value(&Field::DurationMs)) {
        Ok(duration) => request.duration_us = duration.unwrap_or(0),
        Err(problem) => {
            reading.bad(line, problem);
            return;
        }
    }
    for (field, value) in values {
        if let Field::Header(name) = field
            && !matches!(value.as_str(), "" | "-")
        {
            request.headers.push((name.clone(), value.clone()));
        }
    }
    match value(&Field::Protocol) {
        Some("HTTP/1.1") | None => {}
        Some(protocol) => notes.count(&format!(
            "requests came by {protocol}: they are replayed as HTTP/1.1"
        )),
    }
    if let Err(problem) = check(&request) {
        reading.bad(line, problem);
        return;
    }
    for (sentence, is_so) in [
        (
            "requests have authority and headers as the route left them, not as they came",
            true,
        ),
        ("requests have no headers but those that are logged", true),
        ("requests have no random number: replay draws it", true),
        (
            "requests have no authority in the log",
            request.authority.is_none(),
        ),
        (
            "requests have no destination in the log: name a listener when replaying",
            request.destination.is_none()
                && request.listener.is_none()
                && request.route_config.is_none(),
        ),
        (
            "requests have no connection in the log",
            request.connection.is_none(),
        ),
    ] {
        if is_so {
            notes.count(sentence);
        }
    }
    reading.notes.add(notes);
    reading.found.push(Found { request, time_us });
}

fn duration(us: Option<&str>, ms: Option<&str>) -> Result<Option<u64>, String> {
    let (text, factor) = match (us, ms) {
        (Some(us), _) => (us, 0.001),
        (None, Some(ms)) => (ms, 1.0),
        (None, None) => return Ok(None),
    };
    let number: f64 = text
        .parse()
        .map_err(|_| format!("expected a duration, found `{text}`"))?;
    time::microseconds(number * factor)
        .map(Some)
        .ok_or_else(|| format!("`{text}` is no duration"))
}
