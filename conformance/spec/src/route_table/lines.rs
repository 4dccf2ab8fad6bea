//! Header lines, of which some values may not be known.

use std::collections::BTreeMap;

use super::{Input, Known, Undecided};
use crate::message::{self, Message};

/// The header lines of a request or a response, pseudo headers among them, names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    lines: Vec<(String, String)>,
    /// Headers of which not all values are known, and why.
    unknown: BTreeMap<String, Undecided>,
}

/// What the tool's input has fields of its own for.
const GIVEN: [&str; 7] = [
    ":authority",
    ":method",
    ":path",
    ":scheme",
    "host",
    "x-envoy-internal",
    "x-forwarded-proto",
];

impl Lines {
    /// The lines of these headers.
    pub(super) fn new(headers: &[(String, String)]) -> Self {
        let mut lines = Self::default();
        for (name, value) in headers {
            lines.add(name, value.clone());
        }
        lines
    }

    /// The request as the tool puts it together.
    ///
    /// # Errors
    /// A further header is one that the input has a field for.
    pub(super) fn of_request(input: &Input) -> Known<Self> {
        let scheme = if input.ssl { "https" } else { "http" };
        let mut lines = Self::default();
        for (name, value) in [
            (":authority", input.authority.as_str()),
            (":path", &input.path),
            (":method", &input.method),
            ("x-forwarded-proto", scheme),
            (":scheme", scheme),
        ] {
            lines.add(name, value.to_owned());
        }
        if input.internal {
            lines.add("x-envoy-internal", "true".to_owned());
        }
        for (name, value) in &input.request_headers {
            if GIVEN.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(Undecided::new(format!(
                    "additional_request_headers has {name}, which a field of the input gives"
                )));
            }
            lines.add(name, value.clone());
        }
        Ok(lines)
    }

    /// All values of a header, those of separate lines apart unless Envoy joins them.
    ///
    /// # Errors
    /// They are not known.
    pub fn values(&self, name: &str) -> Known<Vec<String>> {
        let name = key(name);
        if let Some(reason) = self.unknown.get(&name) {
            return Err(reason.clone());
        }
        let values: Vec<String> = self
            .lines
            .iter()
            .filter(|(other, _)| *other == name)
            .map(|(_, value)| value.clone())
            .collect();
        if values.len() > 1 && (message::is_joined(&name) || name == "content-length") {
            return Ok(vec![message::join(&values)]);
        }
        Ok(values)
    }

    /// The first value of a header.
    ///
    /// # Errors
    /// It is not known.
    pub fn first(&self, name: &str) -> Known<Option<String>> {
        Ok(self.values(name)?.into_iter().next())
    }

    /// The first value; empty where there is none.
    pub(super) fn text(&self, name: &str) -> Known<String> {
        Ok(self.first(name)?.unwrap_or_default())
    }

    /// Whether the header is there.
    pub(super) fn has(&self, name: &str) -> Known<bool> {
        Ok(!self.values(name)?.is_empty())
    }

    /// Adds a line.
    pub(super) fn add(&mut self, name: &str, value: String) {
        self.lines.push((key(name), value));
    }

    /// Puts one line in the place of all.
    pub(super) fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.add(name, value);
    }

    /// Takes all lines away.
    pub(super) fn remove(&mut self, name: &str) {
        let name = key(name);
        self.unknown.remove(&name);
        self.lines.retain(|(other, _)| *other != name);
    }

    /// Says that not all values of a header are known from here on.
    pub(super) fn lose(&mut self, name: &str, reason: Undecided) {
        self.unknown.insert(key(name), reason);
    }

    /// As routes see a request. Only what is asked for has to be known: pseudo headers are.
    pub(super) fn message(&self) -> Known<Message> {
        Ok(Message {
            method: self.text(":method")?,
            scheme: self.text(":scheme")?,
            authority: self.text(":authority")?,
            path: self.text(":path")?,
            forwarded_proto: self.text("x-forwarded-proto")?,
            headers: self
                .lines
                .iter()
                .filter(|(name, _)| !name.starts_with(':'))
                .cloned()
                .collect(),
            ..Message::default()
        })
    }
}

/// The name that a header goes by: Envoy keeps Host as `:authority`.
fn key(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    if name == "host" {
        return ":authority".to_owned();
    }
    name
}
