//! Every message of Envoy's API, from the descriptor set that `ci/build-descriptors` makes of the
//! .proto files in envoy-types.

mod descriptor;

use std::{
    collections::HashMap,
    sync::{LazyLock, OnceLock},
};

use envoy_types::pb::validate::FieldRules;
use prost::Message as _;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| match descriptor::Set::decode(DESCRIPTORS) {
    Ok(set) => Schema::new(set),
    Err(error) => unreachable!("the committed descriptor set is whole: {error}"),
});

/// See `ci/build-descriptors`.
const DESCRIPTORS: &[u8] = include_bytes!("envoy.binpb");

/// The messages and enums that this build knows.
pub(crate) struct Schema {
    messages: HashMap<String, Message>,
    enums: HashMap<String, Enum>,
}

/// A message type.
pub(crate) struct Message {
    /// Fully qualified, without a leading dot.
    pub(crate) name: String,
    /// In the order of the .proto file.
    pub(crate) fields: Vec<Field>,
    /// The oneofs, without those that proto3 makes for an `optional` field.
    pub(crate) oneofs: Vec<Oneof>,
    /// Its JSON form is its own, not an object with its fields.
    pub(crate) special: Special,
    /// It is the entry of a map field.
    pub(crate) is_map_entry: bool,
    /// Envoy does not validate it.
    pub(crate) unvalidated: bool,
    by_name: HashMap<String, usize>,
    by_number: Vec<(u32, usize)>,
}

/// Messages whose JSON form is special.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// An object with the fields.
    No,
    /// `google.protobuf.Any`.
    Any,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `google.protobuf.BoolValue` and the like: the field `value` alone.
    Wrapper,
    /// `google.protobuf.Struct`.
    Struct,
    /// `google.protobuf.Value`.
    Value,
    /// `google.protobuf.ListValue`.
    ListValue,
    /// `google.protobuf.FieldMask`.
    FieldMask,
}

/// A oneof.
pub(crate) struct Oneof {
    /// Its name.
    pub(crate) name: String,
    /// Envoy refuses the message where none of its fields is set.
    pub(crate) required: bool,
}

/// A field.
pub(crate) struct Field {
    /// As in the .proto file.
    pub(crate) name: String,
    /// As in JSON: lowerCamelCase.
    pub(crate) json_name: String,
    /// Field number.
    pub(crate) number: u32,
    /// Its type.
    pub(crate) kind: Kind,
    /// Also true for a map.
    pub(crate) repeated: bool,
    /// Index into [`Message::oneofs`].
    pub(crate) oneof: Option<usize>,
    /// Absence and the default value are told apart.
    pub(crate) has_presence: bool,
    /// By which Envoy validates it.
    pub(crate) rules: Option<FieldRules>,
    /// The message type, once it was asked for.
    message: OnceLock<Option<&'static Message>>,
}

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    String,
    Bytes,
    Uint32,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    /// Name of the message.
    Message(String),
    /// Name of the enum.
    Enum(String),
}

/// An enum.
pub(crate) struct Enum {
    /// Fully qualified.
    pub(crate) name: String,
    /// Names and numbers, in the order of the .proto file.
    pub(crate) values: Vec<(String, i32)>,
}

/// The schema, built at the first use.
pub(crate) fn schema() -> &'static Schema {
    &SCHEMA
}

impl Schema {
    fn new(set: descriptor::Set) -> Schema {
        let mut schema = Schema {
            messages: HashMap::new(),
            enums: HashMap::new(),
        };
        for file in set.files {
            let proto2 = file.syntax != "proto3";
            for message in file.messages {
                schema.add_message(&file.package, message, proto2);
            }
            for enumeration in file.enums {
                schema.add_enum(&file.package, enumeration);
            }
        }
        schema
    }

    fn add_message(&mut self, parent: &str, source: descriptor::MessageType, proto2: bool) {
        let name = format!("{parent}.{}", source.name);
        for message in source.messages {
            self.add_message(&name, message, proto2);
        }
        for enumeration in source.enums {
            self.add_enum(&name, enumeration);
        }
        let options = source.options.unwrap_or_default();
        let fields: Vec<Field> = source
            .fields
            .into_iter()
            .filter_map(|field| Field::new(field, proto2))
            .collect();
        let mut by_name = HashMap::with_capacity(fields.len() * 2);
        let mut by_number = Vec::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            by_name.insert(field.name.clone(), index);
            by_name.insert(field.json_name.clone(), index);
            by_number.push((field.number, index));
        }
        by_number.sort_unstable();
        let oneofs = source
            .oneofs
            .into_iter()
            .map(|oneof| Oneof {
                name: oneof.name,
                required: oneof.options.is_some_and(|options| options.required),
            })
            .collect();
        let message = Message {
            special: Special::of(&name),
            fields,
            oneofs,
            is_map_entry: options.map_entry,
            unvalidated: options.disabled,
            by_name,
            by_number,
            name: name.clone(),
        };
        self.messages.insert(name, message);
    }

    fn add_enum(&mut self, parent: &str, source: descriptor::EnumType) {
        let name = format!("{parent}.{}", source.name);
        let values = source
            .values
            .into_iter()
            .map(|value| (value.name, value.number))
            .collect();
        self.enums.insert(name.clone(), Enum { name, values });
    }

    /// The message of this fully qualified name.
    pub(crate) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }

    /// The enum of this fully qualified name.
    pub(crate) fn enumeration(&self, name: &str) -> Option<&Enum> {
        self.enums.get(name)
    }

    /// The message that a type URL names: what follows its last slash.
    pub(crate) fn message_of_url(&self, type_url: &str) -> Option<&Message> {
        self.message(type_name(type_url))
    }
}

/// The message name in a type URL.
pub(crate) fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

impl Message {
    /// The field of this name, as in the .proto file or as in JSON.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(*self.by_name.get(name)?)
    }

    /// The field of this number.
    pub(crate) fn field_by_number(&self, number: u32) -> Option<&Field> {
        let place = self
            .by_number
            .binary_search_by_key(&number, |(number, _)| *number)
            .ok()?;
        self.fields.get(self.by_number.get(place)?.1)
    }
}

impl Field {
    fn new(source: descriptor::FieldType, proto2: bool) -> Option<Field> {
        let type_name = || source.type_name.trim_start_matches('.').to_owned();
        let kind = match source.kind {
            1 => Kind::Double,
            2 => Kind::Float,
            3 => Kind::Int64,
            4 => Kind::Uint64,
            5 => Kind::Int32,
            6 => Kind::Fixed64,
            7 => Kind::Fixed32,
            8 => Kind::Bool,
            9 => Kind::String,
            11 => Kind::Message(type_name()),
            12 => Kind::Bytes,
            13 => Kind::Uint32,
            14 => Kind::Enum(type_name()),
            15 => Kind::Sfixed32,
            16 => Kind::Sfixed64,
            17 => Kind::Sint32,
            18 => Kind::Sint64,
            // Groups, which no message of Envoy's has.
            _ => return None,
        };
        let repeated = source.label == 3;
        let oneof = source
            .oneof
            .filter(|_| !source.proto3_optional)
            .and_then(|index| usize::try_from(index).ok());
        let has_presence = !repeated
            && (proto2
                || source.proto3_optional
                || oneof.is_some()
                || matches!(kind, Kind::Message(_)));
        Some(Field {
            json_name: json_name(&source.name),
            number: source.number,
            kind,
            repeated,
            oneof,
            has_presence,
            rules: source.options.and_then(|options| options.rules),
            message: OnceLock::new(),
            name: source.name,
        })
    }

    /// The message type, of a field that is a message.
    pub(crate) fn message(&self) -> Option<&'static Message> {
        *self.message.get_or_init(|| match &self.kind {
            Kind::Message(name) => schema().message(name),
            _ => None,
        })
    }

    /// The enum, of a field that is one.
    pub(crate) fn enumeration(&self) -> Option<&'static Enum> {
        match &self.kind {
            Kind::Enum(name) => schema().enumeration(name),
            _ => None,
        }
    }
}

impl Enum {
    /// The number of this name; as Envoy's parser, in any case.
    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        let value = self
            .values
            .iter()
            .find(|(value, _)| value.eq_ignore_ascii_case(name))?;
        Some(value.1)
    }

    /// The first name of this number.
    pub(crate) fn value_name(&self, number: i32) -> Option<&str> {
        let value = self.values.iter().find(|(_, value)| *value == number)?;
        Some(&value.0)
    }
}

impl Special {
    fn of(name: &str) -> Special {
        match name.strip_prefix("google.protobuf.") {
            Some("Any") => Special::Any,
            Some("Duration") => Special::Duration,
            Some("Timestamp") => Special::Timestamp,
            Some("Struct") => Special::Struct,
            Some("Value") => Special::Value,
            Some("ListValue") => Special::ListValue,
            Some("FieldMask") => Special::FieldMask,
            Some(
                "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
                | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue",
            ) => Special::Wrapper,
            _ => Special::No,
        }
    }
}

/// protoc's rule: an underscore goes, and the letter after it becomes upper case.
fn json_name(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        if character == '_' {
            upper = true;
        } else if upper {
            result.push(character.to_ascii_uppercase());
            upper = false;
        } else {
            result.push(character);
        }
    }
    result
}
