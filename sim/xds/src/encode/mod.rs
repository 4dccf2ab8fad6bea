//! Text to wire: a value and the message it stands for, by proto3's JSON mapping as Envoy's
//! parser reads it.
//!
//! Unlike proto3's strict mapping, and like that parser, it takes one value for a list of one, a
//! quoted number or bool, and a Duration as an object.

mod scalar;
mod special;

use crate::{
    error::{Place, ReadError},
    path::{Path, Segment},
    schema::{Field, Kind, Message, Special},
    text::{Document, Node, Value},
    wire,
};

/// How deep messages may nest between two `Any`: what the decoder of the typed messages takes.
const MAX_MESSAGES: usize = 90;

/// Encodes the values of one document.
pub(crate) struct Encoder<'a> {
    /// The file's name, for errors.
    pub(crate) file: &'a str,
    /// For errors.
    pub(crate) document: &'a Document<'a>,
    /// Refuse fields that the schema does not have.
    pub(crate) hand_written: bool,
    /// Where the encoder stands.
    pub(crate) path: Path,
    depth: usize,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(file: &'a str, document: &'a Document<'a>, hand_written: bool) -> Self {
        Encoder {
            file,
            document,
            hand_written,
            path: Path::default(),
            depth: 0,
        }
    }

    fn place(&self, at: usize) -> Box<Place> {
        Box::new(Place {
            file: self.file.to_owned(),
            position: Some(self.document.position(at)),
            path: self.path.to_string(),
        })
    }

    fn mismatch<T>(&self, node: &Node<'_>, expected: impl Into<String>) -> Result<T, ReadError> {
        Err(ReadError::Type {
            place: self.place(node.at),
            expected: expected.into(),
            found: node.describe(),
        })
    }

    /// Appends the message's fields.
    pub(crate) fn message(
        &mut self,
        message: &'static Message,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        if self.depth >= MAX_MESSAGES {
            return self.mismatch(node, format!("at most {MAX_MESSAGES} nested messages"));
        }
        let before = self.depth;
        self.depth += 1;
        let result = match message.special {
            Special::No => self.members(message, node, None, out),
            _ => self.special(message, node, out),
        };
        self.depth = before;
        result
    }

    /// Appends the fields that an object's members name, without the one called `except`.
    fn members(
        &mut self,
        message: &'static Message,
        node: &Node<'_>,
        except: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let Value::Object(members) = &node.value else {
            return self.mismatch(node, format!("an object, {}", message.name));
        };
        let mut oneofs: Vec<Option<&'static str>> = vec![None; message.oneofs.len()];
        let mut seen: Vec<&'static str> = Vec::with_capacity(members.len());
        for member in members {
            if except == Some(member.key.as_ref()) {
                continue;
            }
            let Some(field) = message.field(&member.key) else {
                self.unknown(message, &member.key, member.at, out)?;
                continue;
            };
            self.path.push(Segment::Field(&field.name));
            if seen.contains(&field.name.as_str()) {
                return Err(ReadError::Type {
                    place: self.place(member.at),
                    expected: "each field once".to_owned(),
                    found: "both spellings of this one".to_owned(),
                });
            }
            seen.push(&field.name);
            if !is_absent(field, &member.node) {
                if let Some(slot) = field.oneof.and_then(|oneof| oneofs.get_mut(oneof)) {
                    if let Some(other) = slot {
                        return Err(ReadError::Type {
                            place: self.place(member.at),
                            expected: "one of the fields that exclude each other".to_owned(),
                            found: format!("it beside {other:?}"),
                        });
                    }
                    *slot = Some(&field.name);
                }
                self.field(field, &member.node, out)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    fn unknown(
        &mut self,
        message: &'static Message,
        key: &str,
        at: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        if !self.hand_written {
            wire::put_bytes(out, wire::UNKNOWN, key.as_bytes());
            return Ok(());
        }
        self.path.push(Segment::Unknown(key.to_owned()));
        Err(ReadError::UnknownField {
            place: self.place(at),
            message: message.name.clone(),
            similar: similar(message, key),
        })
    }

    fn field(
        &mut self,
        field: &'static Field,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        if !field.repeated {
            return self.value(field, node, out);
        }
        if let Some(entry) = field.message().filter(|message| message.is_map_entry) {
            return self.map(field, entry, node, out);
        }
        match &node.value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Segment::Index(index));
                    if matches!(item.value, Value::Null) && !takes_null(field) {
                        return self.mismatch(item, describe(field));
                    }
                    self.value(field, item, out)?;
                    self.path.pop();
                }
                Ok(())
            }
            _ => self.value(field, node, out),
        }
    }

    fn map(
        &mut self,
        field: &'static Field,
        entry: &'static Message,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let Value::Object(members) = &node.value else {
            return self.mismatch(node, "an object, a map");
        };
        let (Some(key_field), Some(value_field)) = (entry.field("key"), entry.field("value"))
        else {
            return Ok(());
        };
        // The order means nothing; sorted, equal maps are equal bytes.
        let mut members: Vec<_> = members.iter().collect();
        members.sort_by(|left, right| left.key.cmp(&right.key));
        for member in members {
            self.path.push(Segment::Key(member.key.to_string()));
            wire::put_tag(out, field.number, 2);
            let start = out.len();
            let key = Node {
                at: member.at,
                value: Value::String(member.key.clone()),
            };
            self.value(key_field, &key, out)?;
            if !matches!(member.node.value, Value::Null) || takes_null(value_field) {
                self.value(value_field, &member.node, out)?;
            }
            wire::put_length(out, start);
            self.path.pop();
        }
        Ok(())
    }

    /// Appends one value with its tag.
    fn value(
        &mut self,
        field: &'static Field,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let Kind::Message(name) = &field.kind else {
            return self.scalar(field, node, out);
        };
        let Some(message) = field.message() else {
            return self.mismatch(node, format!("nothing: {name} is not built in"));
        };
        wire::put_tag(out, field.number, 2);
        let start = out.len();
        self.message(message, node, out)?;
        wire::put_length(out, start);
        Ok(())
    }
}

/// proto3: null is the same as no member, save where null is a value.
fn is_absent(field: &Field, node: &Node<'_>) -> bool {
    matches!(node.value, Value::Null) && (field.repeated || !takes_null(field))
}

fn takes_null(field: &Field) -> bool {
    match &field.kind {
        Kind::Message(name) => name == "google.protobuf.Value",
        Kind::Enum(name) => name == "google.protobuf.NullValue",
        _ => false,
    }
}

fn describe(field: &Field) -> String {
    match &field.kind {
        Kind::Message(name) => format!("an object, {name}"),
        kind => scalar::describe(kind),
    }
}

/// A field whose name is at most two edits away.
fn similar(message: &Message, key: &str) -> Option<String> {
    const MAX_EDITS: usize = 2;
    let key = key.to_ascii_lowercase();
    message
        .fields
        .iter()
        .map(|field| (edits(&field.name, &key), &field.name))
        .filter(|(edits, _)| *edits <= MAX_EDITS)
        .min()
        .map(|(_, name)| name.clone())
}

/// Levenshtein's distance.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut next = vec![index + 1];
        for (place, to) in right.iter().enumerate() {
            let kept = row.get(place).copied().unwrap_or_default() + usize::from(from != *to);
            let removed = row.get(place + 1).copied().unwrap_or_default() + 1;
            let added = next.last().copied().unwrap_or_default() + 1;
            next.push(kept.min(removed).min(added));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
