//! Scalars: numbers, strings, bytes, enums.

use super::Encoder;
use crate::{
    error::ReadError,
    schema::{Field, Kind},
    text::{Node, Value},
    wire,
};

/// What a scalar field takes, in words.
pub(super) fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Double | Kind::Float => "a number".to_owned(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            format!("an integer from {} to {}", i64::MIN, i64::MAX)
        }
        Kind::Uint64 | Kind::Fixed64 => format!("an integer from 0 to {}", u64::MAX),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            format!("an integer from {} to {}", i32::MIN, i32::MAX)
        }
        Kind::Uint32 | Kind::Fixed32 => format!("an integer from 0 to {}", u32::MAX),
        Kind::Bool => "true or false".to_owned(),
        Kind::String => "a string".to_owned(),
        Kind::Bytes => "a string of base64".to_owned(),
        Kind::Enum(name) => format!("a value of {name}"),
        Kind::Message(name) => format!("an object, {name}"),
    }
}

impl Encoder<'_> {
    /// Appends one scalar with its tag; not where it is the default of a field without presence.
    pub(super) fn scalar(
        &mut self,
        field: &'static Field,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let keep_default = field.has_presence || field.repeated;
        let tag = |out: &mut Vec<u8>| {
            wire::put_tag(out, field.number, wire::wire_type(&field.kind));
        };
        match &field.kind {
            Kind::String => {
                let Value::String(text) = &node.value else {
                    return self.mismatch(node, describe(&field.kind));
                };
                if keep_default || !text.is_empty() {
                    wire::put_bytes(out, field.number, text.as_bytes());
                }
            }
            Kind::Bytes => {
                let bytes = match &node.value {
                    Value::String(text) => base64(text),
                    _ => None,
                };
                let Some(bytes) = bytes else {
                    return self.mismatch(node, describe(&field.kind));
                };
                if keep_default || !bytes.is_empty() {
                    wire::put_bytes(out, field.number, &bytes);
                }
            }
            Kind::Bool => {
                let value = match &node.value {
                    Value::Bool(value) => *value,
                    Value::String(text) if text == "true" => true,
                    Value::String(text) if text == "false" => false,
                    _ => return self.mismatch(node, describe(&field.kind)),
                };
                if keep_default || value {
                    tag(out);
                    out.push(u8::from(value));
                }
            }
            Kind::Double | Kind::Float => {
                let Some(value) = float(&node.value) else {
                    return self.mismatch(node, describe(&field.kind));
                };
                if keep_default || value != 0.0 {
                    tag(out);
                    if field.kind == Kind::Double {
                        out.extend_from_slice(&value.to_le_bytes());
                    } else {
                        out.extend_from_slice(&(value as f32).to_le_bytes());
                    }
                }
            }
            Kind::Enum(_) => {
                let number = self.enumeration(field, node)?;
                if keep_default || number != 0 {
                    tag(out);
                    wire::put_varint(out, i64::from(number) as u64);
                }
            }
            kind => {
                let Some(value) = integer(&node.value).and_then(|value| in_range(kind, value))
                else {
                    return self.mismatch(node, describe(kind));
                };
                if keep_default || value != 0 {
                    tag(out);
                    put_integer(out, kind, value);
                }
            }
        }
        Ok(())
    }

    fn enumeration(&self, field: &'static Field, node: &Node<'_>) -> Result<i32, ReadError> {
        const SHOWN: usize = 12;
        let Some(enumeration) = field.enumeration() else {
            return self.mismatch(node, describe(&field.kind));
        };
        let number = match &node.value {
            Value::Null if enumeration.name == "google.protobuf.NullValue" => Some(0),
            Value::String(name) => enumeration
                .number(name)
                .or_else(|| name.parse::<i32>().ok()),
            Value::Number(_) => integer(&node.value).and_then(|number| i32::try_from(number).ok()),
            _ => None,
        };
        if let Some(number) = number {
            return Ok(number);
        }
        let names: Vec<&str> = enumeration
            .values
            .iter()
            .take(SHOWN)
            .map(|(name, _)| name.as_str())
            .collect();
        let more = if enumeration.values.len() > SHOWN {
            ", …"
        } else {
            ""
        };
        self.mismatch(
            node,
            format!(
                "a value of {}: {}{more}",
                enumeration.name,
                names.join(", ")
            ),
        )
    }
}

/// The integer of a number or a quoted number; `1.0` and `1e3` are integers too.
fn integer(value: &Value<'_>) -> Option<i128> {
    let text = match value {
        Value::Number(text) | Value::String(text) => text.as_ref(),
        _ => return None,
    };
    if let Ok(integer) = text.parse::<i128>() {
        // `+1` is none in JSON; where it is quoted it is none either.
        return (!text.starts_with('+')).then_some(integer);
    }
    let float: f64 = text.parse().ok()?;
    let is_exact = float.fract() == 0.0 && float.abs() < 2_f64.powi(64);
    (is_exact && text.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']))
        .then_some(float as i128)
}

fn in_range(kind: &Kind, value: i128) -> Option<i128> {
    let range = match kind {
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => i128::from(i64::MIN)..=i128::from(i64::MAX),
        Kind::Uint64 | Kind::Fixed64 => 0..=i128::from(u64::MAX),
        Kind::Uint32 | Kind::Fixed32 => 0..=i128::from(u32::MAX),
        _ => i128::from(i32::MIN)..=i128::from(i32::MAX),
    };
    range.contains(&value).then_some(value)
}

fn put_integer(out: &mut Vec<u8>, kind: &Kind, value: i128) {
    match kind {
        Kind::Sint32 | Kind::Sint64 => {
            let value = value as i64;
            wire::put_varint(out, (value << 1 ^ value >> 63) as u64);
        }
        Kind::Fixed64 | Kind::Sfixed64 => out.extend_from_slice(&(value as u64).to_le_bytes()),
        Kind::Fixed32 | Kind::Sfixed32 => out.extend_from_slice(&(value as u32).to_le_bytes()),
        // Negative numbers take ten bytes, whatever their type.
        _ => wire::put_varint(out, value as i64 as u64),
    }
}

fn float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Number(text) => text.parse().ok(),
        Value::String(text) => match text.as_ref() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text if text.starts_with(|first: char| {
                first.is_ascii_digit() || first == '-' || first == '.'
            }) =>
            {
                text.parse().ok()
            }
            _ => None,
        },
        _ => None,
    }
}

/// Base64 of either alphabet, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut bits = 0_u32;
    let mut count = 0;
    for letter in text.bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // Six bits alone are no byte.
    (count != 6).then_some(bytes)
}
