//! Endpoint scripts: `*.endpoints.toml`. What endpoints do with the requests that reach them.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::FormatError;
use crate::Request;

/// What every endpoint does. Entries are looked through in their order: the first outage of an
/// entry for the endpoint that is on counts, and the first rule that fits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The entries.
    #[serde(default)]
    pub endpoint: Vec<Entry>,
}

/// What one endpoint does, or all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `ip:port`, a pipe's path, or `*` for every endpoint.
    #[serde(deserialize_with = "address")]
    pub address: String,
    /// When it is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outage: Vec<Outage>,
    /// How it answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<Rule>,
}

/// A time in which an endpoint is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Its first microsecond.
    #[serde(default)]
    pub from_us: u64,
    /// The first microsecond after it; absent: it lasts for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_us: Option<u64>,
    /// What connections and requests meet.
    pub kind: OutageKind,
}

/// What an outage looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutageKind {
    /// Nobody listens: new connections are refused, and requests on open ones are reset.
    Refused,
    /// Nothing comes back, neither of a connection nor of a request.
    Silent,
}

/// How an endpoint answers the requests that fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The first microsecond in which it holds.
    #[serde(default)]
    pub from_us: u64,
    /// The first microsecond in which it does not hold any more; absent: it holds for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_us: Option<u64>,
    /// The request's method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The request's whole path as the client sent it, without its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What that path starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Headers that the request has, each with this value in some line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The answers, taken in turns.
    #[serde(deserialize_with = "answers")]
    pub answers: Vec<Reply>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// How long it takes, in microseconds; absent: the request's `duration_us`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// The HTTP status.
    #[serde(default = "ok", deserialize_with = "status")]
    pub status: u32,
    /// The header `grpc-status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
    /// Further headers of the response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The stream ends otherwise than with a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<ResetKind>,
    /// How many requests in a row it takes before it is the next one's turn.
    #[serde(default = "one", deserialize_with = "times")]
    pub times: u64,
}

/// How a stream is cut off, after its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetKind {
    /// Before anything of a response: the connection closes, on HTTP/2 the stream is reset.
    BeforeHeaders,
    /// Behind the response's headers, in its body.
    AfterHeaders,
    /// On HTTP/2, by REFUSED_STREAM; on HTTP/1 as `before_headers`.
    RefusedStream,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "*" || text.starts_with(['/', '@']) {
        return Ok(text);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(D::Error::custom(format!(
            "expected `ip:port` (an IPv6 address in brackets), a pipe's path or `*`, found `{text}`"
        ))),
    }
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let status = u32::deserialize(deserializer)?;
    if (200..600).contains(&status) {
        Ok(status)
    } else {
        Err(D::Error::custom(format!(
            "expected a status from 200 to 599, found {status}"
        )))
    }
}

fn times<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(D::Error::custom("expected at least 1, found 0")),
        times => Ok(times),
    }
}

fn answers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Reply>, D::Error> {
    let answers = Vec::<Reply>::deserialize(deserializer)?;
    if answers.is_empty() {
        return Err(D::Error::custom("expected at least one answer"));
    }
    Ok(answers)
}

fn ok() -> u32 {
    200
}

fn one() -> u64 {
    1
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            latency_us: None,
            status: ok(),
            grpc_status: None,
            headers: Vec::new(),
            reset: None,
            times: one(),
        }
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// It cannot be read, or is none: file, line, column and field are named.
    pub fn read(file: &Path) -> Result<Self, FormatError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| FormatError::file(file, format!("cannot be read: {error}")))?;
        Self::parse(file, &text)
    }

    /// Reads a script's text; `file` is its name in errors.
    ///
    /// # Errors
    /// As [`Script::read`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let error = |field: Option<String>, inner: &toml::de::Error| {
            let place = inner.span().map(|span| {
                let before = text.get(..span.start.min(text.len())).unwrap_or(text);
                let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
                (before.matches('\n').count() + 1, column)
            });
            FormatError {
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                field: field.filter(|field| field != "." && field != "?"),
                ..FormatError::file(file, inner.message().to_owned())
            }
        };
        let deserializer = toml::Deserializer::parse(text).map_err(|inner| error(None, &inner))?;
        let script: Self = serde_path_to_error::deserialize(deserializer)
            .map_err(|failed| error(Some(failed.path().to_string()), failed.inner()))?;
        script.check(file)?;
        Ok(script)
    }

    fn check(&self, file: &Path) -> Result<(), FormatError> {
        for (index, entry) in self.endpoint.iter().enumerate() {
            let outages = entry.outage.iter().map(|it| (it.from_us, it.to_us));
            let rules = entry.rule.iter().map(|it| (it.from_us, it.to_us));
            for (kind, (place, (from, to))) in outages
                .enumerate()
                .map(|it| ("outage", it))
                .chain(rules.enumerate().map(|it| ("rule", it)))
            {
                if let Some(to) = to.filter(|to| *to <= from) {
                    return Err(FormatError {
                        field: Some(format!("endpoint[{index}].{kind}[{place}].to_us")),
                        ..FormatError::file(
                            file,
                            format!("expected more than {from}, its from_us, found {to}"),
                        )
                    });
                }
            }
        }
        Ok(())
    }

    fn entries(&self, endpoint: &str) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.endpoint.iter().enumerate();
        entries.filter(move |(_, entry)| entry.address == "*" || entry.address == endpoint)
    }

    /// What is wrong with an endpoint at a time, if anything is.
    pub fn outage(&self, endpoint: &str, now_us: u64) -> Option<OutageKind> {
        let mut outages = self.entries(endpoint).flat_map(|(_, entry)| &entry.outage);
        let found = outages.find(|outage| holds(outage.from_us, outage.to_us, now_us))?;
        Some(found.kind)
    }

    /// How an endpoint answers a request that reaches it at a time; takes a turn.
    pub fn reply(
        &self,
        turns: &mut Turns,
        endpoint: &str,
        request: &Request,
        now_us: u64,
    ) -> Reply {
        for (entry, rules) in self.entries(endpoint) {
            for (index, rule) in rules.rule.iter().enumerate() {
                if holds(rule.from_us, rule.to_us, now_us) && rule.fits(request) {
                    return turns.next((entry, index, endpoint), &rule.answers);
                }
            }
        }
        Reply::default()
    }
}

fn holds(from_us: u64, to_us: Option<u64>, now_us: u64) -> bool {
    from_us <= now_us && to_us.is_none_or(|to| now_us < to)
}

impl Rule {
    fn fits(&self, request: &Request) -> bool {
        let path = request.path.split(['?', '#']).next().unwrap_or_default();
        self.method.as_ref().is_none_or(|it| *it == request.method)
            && self.path.as_ref().is_none_or(|it| it == path)
            && self
                .path_prefix
                .as_ref()
                .is_none_or(|it| path.starts_with(it.as_str()))
            && self.headers.iter().all(|(name, value)| {
                request.headers.iter().any(|(other, found)| {
                    other.eq_ignore_ascii_case(name) && found.trim_matches([' ', '\t']) == value
                })
            })
    }
}

/// Whose turn it is in each rule, for each endpoint.
#[derive(Debug, Clone, Default)]
pub struct Turns(std::collections::HashMap<(usize, usize, String), u64>);

impl Turns {
    fn next(&mut self, (entry, rule, endpoint): (usize, usize, &str), answers: &[Reply]) -> Reply {
        let turn = self
            .0
            .entry((entry, rule, endpoint.to_owned()))
            .or_default();
        let round: u64 = answers
            .iter()
            .fold(0, |sum, answer| answer.times.saturating_add(sum));
        let mut left = turn.checked_rem(round).unwrap_or(0);
        *turn += 1;
        for answer in answers {
            match left.checked_sub(answer.times) {
                Some(rest) => left = rest,
                None => return answer.clone(),
            }
        }
        Reply::default()
    }
}
