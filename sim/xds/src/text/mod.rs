//! JSON and YAML, read into one tree that knows where everything stands.

mod json;
mod yaml;

use std::borrow::Cow;

use crate::{
    error::{Place, ReadError},
    path::{Path, Segment},
};

/// How deep arrays and objects may nest: well above what Envoy's messages need, well below what
/// the stack holds.
const MAX_DEPTH: usize = 200;

/// A text with its values: one, or a stream of them.
pub(crate) struct Document<'a> {
    /// The values.
    pub(crate) roots: Vec<Node<'a>>,
    source: &'a str,
    unit: Unit,
}

/// What [`Node::at`] counts.
#[derive(Clone, Copy)]
enum Unit {
    /// From the start of the text.
    Bytes,
    /// Line (from 1) and column (from 0), packed by [`pack`].
    LinesAndColumns,
}

/// A line and a column in one number.
fn pack(line: usize, column: usize) -> usize {
    (line << COLUMN_BITS) | column.min((1 << COLUMN_BITS) - 1)
}

const COLUMN_BITS: u32 = usize::BITS / 2;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    /// In the document's own unit; [`Document::position`] tells line and column.
    pub(crate) at: usize,
    pub(crate) value: Value<'a>,
}

/// A value.
#[derive(Clone)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<Member<'a>>),
}

/// A key and its value.
#[derive(Clone)]
pub(crate) struct Member<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) at: usize,
    pub(crate) node: Node<'a>,
}

/// Why a text has no tree; the place is in the text's own unit.
enum Fault {
    Syntax {
        at: usize,
        expected: String,
        found: String,
    },
    DuplicateKey {
        at: usize,
        key: String,
        first: usize,
    },
}

/// Reads a JSON text: one value, or several after one another.
pub(crate) fn json<'a>(file: &str, source: &'a str) -> Result<Document<'a>, ReadError> {
    match json::parse(source) {
        Ok(roots) => Ok(Document {
            roots,
            source,
            unit: Unit::Bytes,
        }),
        Err(fault) => Err(fault.error(file, source, Unit::Bytes, "JSON")),
    }
}

/// Reads a YAML text: one document, or several.
pub(crate) fn yaml<'a>(file: &str, source: &'a str) -> Result<Document<'a>, ReadError> {
    match yaml::parse(source) {
        Ok(roots) => Ok(Document {
            roots,
            source,
            unit: Unit::LinesAndColumns,
        }),
        Err(fault) => Err(fault.error(file, source, Unit::LinesAndColumns, "YAML")),
    }
}

impl Fault {
    fn error(self, file: &str, source: &str, unit: Unit, format: &'static str) -> ReadError {
        let place = |at| {
            Box::new(Place {
                file: file.to_owned(),
                position: Some(position(source, unit, at)),
                path: String::new(),
            })
        };
        match self {
            Fault::Syntax {
                at,
                expected,
                found,
            } => ReadError::Syntax {
                place: place(at),
                format,
                expected,
                found,
            },
            Fault::DuplicateKey { at, key, first } => ReadError::DuplicateKey {
                place: place(at),
                key,
                first: position(source, unit, first).0,
            },
        }
    }
}

impl<'a> Document<'a> {
    /// Line and column of a node.
    pub(crate) fn position(&self, at: usize) -> (u64, u64) {
        position(self.source, self.unit, at)
    }

    /// Where the value of this path stands, or the nearest one above it that does.
    pub(crate) fn locate(&self, path: &Path) -> Option<(u64, u64)> {
        let (at, _) = self.nearest(path.segments())?;
        Some(self.position(at))
    }

    /// The node that the segments lead to, or the nearest one above it, and how many segments led
    /// there.
    pub(crate) fn nearest(&self, path: &[Segment]) -> Option<(usize, usize)> {
        let mut segments = path.iter();
        let mut steps = 0;
        let mut node = match self.roots.as_slice() {
            [root] => root,
            roots => match segments.next() {
                Some(Segment::Index(index)) => {
                    steps += 1;
                    roots.get(*index)?
                }
                _ => return None,
            },
        };
        let mut at = node.at;
        for segment in segments {
            let next = match (segment, &node.value) {
                (Segment::Index(index), Value::Array(items)) => items.get(*index),
                // One value stands for a list of one.
                (Segment::Index(0), _) => Some(node),
                (Segment::Field(name), Value::Object(members)) => members
                    .iter()
                    .find(|member| is_field(&member.key, name))
                    .map(|member| &member.node),
                (Segment::Key(name), Value::Object(members)) => members
                    .iter()
                    .find(|member| member.key == name.as_str())
                    .map(|member| &member.node),
                // Read back from words, it may be one of the schema after all.
                (Segment::Unknown(name), Value::Object(members)) => members
                    .iter()
                    .find(|member| member.key == name.as_str() || is_field(&member.key, name))
                    .map(|member| &member.node),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
            at = node.at;
            steps += 1;
        }
        Some((at, steps))
    }
}

/// Whether a key names this field: as in the .proto file, or in lowerCamelCase.
fn is_field(key: &str, name: &str) -> bool {
    if key == name {
        return true;
    }
    let mut key = key.chars();
    let mut upper = false;
    for character in name.chars() {
        if character == '_' {
            upper = true;
            continue;
        }
        let expected = if upper {
            character.to_ascii_uppercase()
        } else {
            character
        };
        upper = false;
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}

fn position(source: &str, unit: Unit, at: usize) -> (u64, u64) {
    if let Unit::LinesAndColumns = unit {
        let column = at & ((1 << COLUMN_BITS) - 1);
        return ((at >> COLUMN_BITS) as u64, column as u64 + 1);
    }
    let before = source.get(..at).unwrap_or(source);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() as u64 + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(start..).unwrap_or_default().chars().count() as u64 + 1;
    (line, column)
}

impl Node<'_> {
    /// The value of a key, of an object.
    pub(crate) fn member(&self, names: &[&str]) -> Option<&Self> {
        match &self.value {
            Value::Object(members) => members
                .iter()
                .find(|member| names.contains(&member.key.as_ref()))
                .map(|member| &member.node),
            _ => None,
        }
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, in words for an error.
    pub(crate) fn describe(&self) -> String {
        const SHOWN: usize = 60;
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(text) => format!("the number {text}"),
            Value::String(text) if text.chars().count() > SHOWN => {
                let start: String = text.chars().take(SHOWN).collect();
                format!("the string {start:?}…")
            }
            Value::String(text) => format!("the string {text:?}"),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        }
    }
}

/// Refuses a second member of one key.
fn check_keys(members: &[Member<'_>]) -> Result<(), Fault> {
    const FEW: usize = 12;
    let duplicate = |member: &Member<'_>, first: usize| Fault::DuplicateKey {
        at: member.at,
        key: member.key.to_string(),
        first,
    };
    if members.len() <= FEW {
        for (index, member) in members.iter().enumerate() {
            let before = members.iter().take(index);
            if let Some(first) = before.into_iter().find(|other| other.key == member.key) {
                return Err(duplicate(member, first.at));
            }
        }
        return Ok(());
    }
    let mut seen = std::collections::HashMap::with_capacity(members.len());
    for member in members {
        if let Some(first) = seen.insert(member.key.as_ref(), member.at) {
            return Err(duplicate(member, first));
        }
    }
    Ok(())
}
