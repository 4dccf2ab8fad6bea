//! Field paths: where in a resource, or in a file, something stands.

use std::fmt;

/// A field path, as in `virtual_hosts[0].routes[2].match.headers[0].name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A field of the schema, by its .proto name.
    Field(&'static str),
    /// An element of a repeated field, or of a stream.
    Index(usize),
    /// An entry of a map.
    Key(String),
    /// A field that the schema does not have, as it was written.
    Unknown(String),
}

impl Path {
    pub(crate) fn push(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// The path with one more step.
    pub(crate) fn with(&self, segment: Segment) -> Path {
        let mut path = self.clone();
        path.push(segment);
        path
    }

    /// The path with one more field.
    pub(crate) fn field(&self, name: &'static str) -> Path {
        self.with(Segment::Field(name))
    }

    /// The path with one more field, and an index in it.
    pub(crate) fn item(&self, name: &'static str, index: usize) -> Path {
        let mut path = self.field(name);
        path.push(Segment::Index(index));
        path
    }

    /// The path from step `start` on, in words.
    pub(crate) fn from(&self, start: usize) -> String {
        render(self.0.get(start..).unwrap_or_default())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&render(&self.0))
    }
}

fn render(segments: &[Segment]) -> String {
    let mut text = String::new();
    for segment in segments {
        let name = match segment {
            Segment::Index(index) => {
                text.push_str(&format!("[{index}]"));
                continue;
            }
            Segment::Key(key) => {
                text.push_str(&format!("[{key:?}]"));
                continue;
            }
            Segment::Field(name) => name,
            Segment::Unknown(name) => name.as_str(),
        };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(name);
    }
    text
}
