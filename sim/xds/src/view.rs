//! A message as its schema and its bytes, read field by field without being decoded.

use crate::{
    path::{Path, Segment},
    schema::{Field, Kind, Message, Special, schema},
    wire::{self, Raw},
};

/// A message, and where it stands.
#[derive(Clone)]
pub(crate) struct View<'a> {
    pub(crate) message: &'static Message,
    pub(crate) bytes: &'a [u8],
    pub(crate) path: Path,
}

/// A `google.protobuf.Any`.
#[derive(Clone)]
pub(crate) struct AnyView<'a> {
    pub(crate) type_url: &'a str,
    pub(crate) value: &'a [u8],
    pub(crate) path: Path,
}

impl<'a> View<'a> {
    /// The fields of this name, with their values. Bytes that are no message end it; whoever
    /// verifies the input has refused those before.
    fn values(
        &self,
        name: &str,
    ) -> Option<(&'static Field, impl Iterator<Item = Raw<'a>> + use<'a>)> {
        let field = self.message.field(name)?;
        let number = field.number;
        let values = wire::fields(self.bytes)
            .filter_map(Result::ok)
            .filter(move |(other, _)| *other == number)
            .map(|(_, value)| value);
        Some((field, values))
    }

    /// The messages of a repeated field.
    pub(crate) fn children(&self, name: &str) -> Vec<View<'a>> {
        let Some((field, values)) = self.values(name) else {
            return Vec::new();
        };
        let Some(message) = field.message() else {
            return Vec::new();
        };
        values
            .filter_map(bytes)
            .enumerate()
            .map(|(index, bytes)| View {
                message,
                bytes,
                path: self.path.item(&field.name, index),
            })
            .collect()
    }

    /// The message of a field that is not repeated.
    pub(crate) fn child(&self, name: &str) -> Option<View<'a>> {
        let (field, values) = self.values(name)?;
        Some(View {
            message: field.message()?,
            bytes: values.filter_map(bytes).last()?,
            path: self.path.field(&field.name),
        })
    }

    /// The string of a field; empty where it is not set.
    pub(crate) fn text(&self, name: &str) -> &'a str {
        self.values(name)
            .and_then(|(_, values)| values.filter_map(bytes).last())
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    /// The bytes of a field; none where it is not set.
    pub(crate) fn bytes(&self, name: &str) -> &'a [u8] {
        self.values(name)
            .and_then(|(_, values)| values.filter_map(bytes).last())
            .unwrap_or_default()
    }

    /// The strings of a repeated field.
    pub(crate) fn texts(&self, name: &str) -> Vec<&'a str> {
        self.values(name)
            .into_iter()
            .flat_map(|(_, values)| values)
            .filter_map(bytes)
            .map(|bytes| std::str::from_utf8(bytes).unwrap_or_default())
            .collect()
    }

    /// The integer, enum or bool of a field, as it is on the wire; 0 where it is not set.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let value = self.values(name).and_then(|(_, values)| values.last());
        match value {
            Some(Raw::Varint(value) | Raw::Fixed64(value)) => value,
            Some(Raw::Fixed32(value)) => u64::from(value),
            _ => 0,
        }
    }

    /// The number in the wrapper of a field; `None` where it is not set.
    pub(crate) fn wrapped(&self, name: &str) -> Option<u64> {
        self.child(name).map(|wrapper| wrapper.number("value"))
    }

    /// The entries of a map from names to messages.
    pub(crate) fn entries(&self, name: &str) -> Vec<(&'a str, View<'a>)> {
        self.children(name)
            .iter()
            .filter_map(|entry| Some((entry.text("key"), entry.child("value")?)))
            .collect()
    }

    /// Whether the field is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name)
            .is_some_and(|(_, mut values)| values.next().is_some())
    }

    /// The Any of this field.
    pub(crate) fn any(&self, name: &str) -> Option<AnyView<'a>> {
        self.child(name).map(|child| child.as_any())
    }

    /// Appends the regexes below this message, also those in an Any, and where each stands.
    pub(crate) fn regexes(&self, found: &mut Vec<(Path, &'a str)>) {
        let regexes = [
            "envoy.type.matcher.v3.RegexMatcher",
            "xds.type.matcher.v3.RegexMatcher",
        ];
        if regexes.contains(&self.message.name.as_str()) {
            found.push((self.path.field("regex"), self.text("regex")));
            return;
        }
        if self.message.special == Special::Any {
            if let Some(content) = self.as_any().content() {
                content.regexes(found);
            }
            return;
        }
        for field in &self.message.fields {
            if field.message().is_none() {
                continue;
            }
            if field.repeated {
                for child in self.children(&field.name) {
                    child.regexes(found);
                }
            } else if let Some(child) = self.child(&field.name) {
                child.regexes(found);
            }
        }
    }

    /// The names of the runtime's values that fields below this message give, also those in an Any.
    pub(crate) fn runtime_keys(&self) -> Vec<&'a str> {
        let mut found = Vec::new();
        self.add_runtime_keys(&mut found);
        found
    }

    fn add_runtime_keys(&self, found: &mut Vec<&'a str>) {
        if self.message.special == Special::Any {
            if let Some(content) = self.as_any().content() {
                content.add_runtime_keys(found);
            }
            return;
        }
        for field in &self.message.fields {
            if field.message().is_some() {
                for child in self.children(&field.name) {
                    child.add_runtime_keys(found);
                }
            } else if field.kind == Kind::String && field.name.contains("runtime") {
                let name = self.text(&field.name);
                found.extend((!name.is_empty()).then_some(name));
            }
        }
    }

    /// This message, which is an Any.
    pub(crate) fn as_any(&self) -> AnyView<'a> {
        let value = self
            .values("value")
            .and_then(|(_, values)| values.filter_map(bytes).last());
        AnyView {
            type_url: self.text("type_url"),
            value: value.unwrap_or_default(),
            path: self.path.clone(),
        }
    }
}

impl<'a> AnyView<'a> {
    /// The content, where its type is built in.
    pub(crate) fn content(&self) -> Option<View<'a>> {
        Some(View {
            message: schema().message_of_url(self.type_url)?,
            bytes: self.value,
            path: self.path.clone(),
        })
    }

    /// The message's name in the type URL.
    pub(crate) fn type_name(&self) -> &'a str {
        crate::schema::type_name(self.type_url)
    }
}

fn bytes(value: Raw<'_>) -> Option<&[u8]> {
    match value {
        Raw::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// The path of an element of a stream; of the only one, the file itself.
pub(crate) fn stream_path(index: usize, length: usize) -> Path {
    let mut path = Path::default();
    if length > 1 {
        path.push(Segment::Index(index));
    }
    path
}
