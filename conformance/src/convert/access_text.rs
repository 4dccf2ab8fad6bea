//! Envoy's access log in text: its own default format, and Istio's.
//!
//! Envoy escapes nothing in such a log. A quoted value ends at a quote that a space or the line's
//! end follows; a line that does not come apart as the format says cannot be read.

use super::fields::{self, Field};
use super::reading::Reading;

/// One value of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// `[TIME]`.
    Time,
    /// `"METHOD PATH PROTOCOL"`.
    RequestLine,
    /// A value up to the next space.
    Bare(Value),
    /// A value in quotes.
    Quoted(Value),
    /// The rest of the line.
    Rest,
}

/// What a value is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Unused,
    /// Milliseconds.
    Duration,
    /// A request header.
    Header(&'static str),
    /// `:authority`.
    Authority,
    /// The address that the connection asked for.
    Local,
    /// The peer's address.
    Remote,
    /// Server name of the ClientHello.
    ServerName,
}

use Token::{Bare, Quoted, RequestLine, Rest, Time};
use Value::{Authority, Duration, Header, Local, Remote, ServerName, Unused};

/// Envoy's default format.
pub const ENVOY: &[Token] = &[
    Time,
    RequestLine,
    Bare(Unused),
    Bare(Unused),
    Bare(Unused),
    Bare(Unused),
    Bare(Duration),
    Bare(Unused),
    Quoted(Header("x-forwarded-for")),
    Quoted(Header("user-agent")),
    Quoted(Header("x-request-id")),
    Quoted(Authority),
    Quoted(Unused),
];

/// Istio's default format.
pub const ISTIO: &[Token] = &[
    Time,
    RequestLine,
    Bare(Unused),
    Bare(Unused),
    Bare(Unused),
    Bare(Unused),
    Quoted(Unused),
    Bare(Unused),
    Bare(Unused),
    Bare(Duration),
    Bare(Unused),
    Quoted(Header("x-forwarded-for")),
    Quoted(Header("user-agent")),
    Quoted(Header("x-request-id")),
    Quoted(Authority),
    Quoted(Unused),
    Bare(Unused),
    Bare(Unused),
    Bare(Local),
    Bare(Remote),
    Bare(ServerName),
    Rest,
];

/// Reads a log.
pub fn read(bytes: &[u8], layout: &[Token]) -> Reading {
    let mut reading = Reading::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            reading.bad(number, "the line is not UTF-8");
            continue;
        };
        match split(line, layout) {
            Ok(values) => fields::add(&mut reading, number, &values),
            Err(problem) => reading.bad(number, problem),
        }
    }
    reading
}

/// The values of a line.
///
/// # Errors
/// Where it does not come apart as the format says.
pub fn split(line: &str, layout: &[Token]) -> Result<Vec<(Field, String)>, String> {
    let mut values = Vec::new();
    let mut rest = line;
    for (index, token) in layout.iter().enumerate() {
        let value = index + 1;
        if index > 0 {
            rest = rest
                .strip_prefix(' ')
                .ok_or_else(|| format!("expected a space before value {value}"))?;
        }
        let (text, after) = match token {
            Time => rest
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
                .ok_or("expected the time in brackets")?,
            RequestLine | Quoted(_) => {
                quoted(rest).ok_or_else(|| format!("expected value {value} in quotes"))?
            }
            Bare(_) => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
            Rest => (rest, ""),
        };
        if text.is_empty() && matches!(token, Bare(_)) {
            return Err(format!("value {value} is missing"));
        }
        rest = after;
        match token {
            Time => values.push((Field::Time, text.to_owned())),
            RequestLine => request_line(text, &mut values)?,
            Bare(value) | Quoted(value) => {
                if let Some(field) = field(*value) {
                    values.push((field, text.to_owned()));
                }
            }
            Rest => {}
        }
    }
    if !rest.is_empty() {
        return Err(format!("found more after value {}", layout.len()));
    }
    Ok(values)
}

fn field(value: Value) -> Option<Field> {
    Some(match value {
        Unused => return None,
        Duration => Field::DurationMs,
        Header(name) => Field::Header(name.to_owned()),
        Authority => Field::Authority,
        Local => Field::Destination,
        Remote => Field::Source,
        ServerName => Field::Sni,
    })
}

fn request_line(text: &str, values: &mut Vec<(Field, String)>) -> Result<(), String> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [method, path, protocol] = parts.as_slice() else {
        return Err(format!(
            "expected method, path and protocol, found `{text}`"
        ));
    };
    values.push((Field::Method, (*method).to_owned()));
    values.push((Field::Path, (*path).to_owned()));
    values.push((Field::Protocol, (*protocol).to_owned()));
    Ok(())
}

/// The text between quotes, and what follows them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    for (at, _) in text.match_indices('"') {
        let after = text.get(at + 1..)?;
        if after.is_empty() || after.starts_with(' ') {
            return Some((text.get(..at)?, after));
        }
    }
    None
}
