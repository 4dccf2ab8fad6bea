//! Wire to text: a message as Envoy's dumps write it, with the .proto files' field names.

use crate::{
    path::{Path, Segment},
    schema::{Field, Kind, Message, Special, schema},
    view::View,
    wire::{self, Raw},
};

/// Writes JSON with one space of indentation a level.
#[derive(Default)]
pub(super) struct Writer {
    out: String,
    level: usize,
    /// Whether the object or array that is open has an element already.
    is_filled: bool,
    path: Path,
    /// Fields that the schema does not have: the path of their message, and their name.
    unknown: Vec<(String, String)>,
}

impl Writer {
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn separate(&mut self) {
        if self.is_filled {
            self.out.push(',');
        }
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', self.level));
        self.is_filled = true;
    }

    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
        self.level += 1;
        self.is_filled = false;
    }

    fn close(&mut self, bracket: char) {
        self.level -= 1;
        if self.is_filled {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', self.level));
        }
        self.out.push(bracket);
        self.is_filled = true;
    }

    /// An object whose members `content` writes.
    pub(super) fn object(&mut self, content: impl FnOnce(&mut Writer)) {
        self.open('{');
        content(self);
        self.close('}');
    }

    /// An array whose elements `element` writes, one for each item.
    pub(super) fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut element: impl FnMut(&mut Writer, T),
    ) {
        self.open('[');
        for item in items {
            self.separate();
            element(self, item);
        }
        self.close(']');
    }

    /// A key; its value comes next.
    pub(super) fn key(&mut self, key: &str) {
        self.separate();
        self.string(key);
        self.out.push_str(": ");
    }

    pub(super) fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                control if control < ' ' => {
                    self.out.push_str(&format!("\\u{:04x}", u32::from(control)));
                }
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }

    /// A resource in an Any, with the unknown fields that make parts of it undecided.
    pub(super) fn resource(&mut self, name: &str, bytes: &[u8], unknown: Vec<(String, String)>) {
        self.path = Path::default();
        self.unknown = unknown;
        self.any(&format!("type.googleapis.com/{name}"), bytes);
    }

    fn any(&mut self, type_url: &str, bytes: &[u8]) {
        let content = schema().message_of_url(type_url);
        self.object(|writer| {
            writer.key("@type");
            writer.string(type_url);
            match content {
                Some(message) if message.special == Special::No => writer.members(message, bytes),
                Some(message) => {
                    writer.key("value");
                    writer.message(message, bytes);
                }
                None => {}
            }
        });
    }

    fn message(&mut self, message: &'static Message, bytes: &[u8]) {
        let view = View {
            message,
            bytes,
            path: Path::default(),
        };
        match message.special {
            Special::No => self.object(|writer| writer.members(message, bytes)),
            Special::Any => {
                let any = view.as_any();
                if any.type_url.is_empty() {
                    self.out.push_str("{}");
                } else {
                    self.any(any.type_url, any.value);
                }
            }
            Special::Duration => self.duration(&view),
            Special::Timestamp => self.timestamp(&view),
            Special::FieldMask => {
                let paths = view.texts("paths").join(",");
                self.string(&paths);
            }
            Special::Wrapper => {
                let Some(field) = message.field("value") else {
                    return;
                };
                let raw = last(bytes, field.number).unwrap_or(match wire::wire_type(&field.kind) {
                    0 => Raw::Varint(0),
                    1 => Raw::Fixed64(0),
                    2 => Raw::Bytes(&[]),
                    _ => Raw::Fixed32(0),
                });
                self.value(field, raw);
            }
            Special::Struct => match message.field("fields") {
                Some(field) => self.map(field, &values(bytes, field.number)),
                None => self.out.push_str("{}"),
            },
            Special::ListValue => match message.field("values") {
                Some(field) => {
                    let values = values(bytes, field.number);
                    self.array(values, |writer, raw| writer.value(field, raw));
                }
                None => self.out.push_str("[]"),
            },
            Special::Value => {
                let set = wire::fields(bytes).filter_map(Result::ok).last();
                let found =
                    set.and_then(|(number, raw)| Some((message.field_by_number(number)?, raw)));
                match found {
                    Some((field, raw)) if field.name != "null_value" => self.value(field, raw),
                    _ => self.out.push_str("null"),
                }
            }
        }
    }

    fn members(&mut self, message: &'static Message, bytes: &[u8]) {
        let here = if self.unknown.is_empty() {
            String::new()
        } else {
            self.path.to_string()
        };
        let unknown: Vec<String> = self
            .unknown
            .iter()
            .filter(|(path, name)| *path == here && message.field(name).is_none())
            .map(|(_, name)| name.clone())
            .collect();
        let mut fields: Vec<(&'static Field, Vec<Raw<'_>>)> = Vec::new();
        for (number, raw) in wire::fields(bytes).filter_map(Result::ok) {
            let Some(field) = message.field_by_number(number) else {
                continue;
            };
            let unpacked = match raw {
                Raw::Bytes(packed) if field.repeated && wire::wire_type(&field.kind) != 2 => {
                    wire::unpack(&field.kind, packed).unwrap_or_default()
                }
                raw => vec![raw],
            };
            match fields.iter_mut().find(|(other, _)| other.number == number) {
                Some((_, values)) if field.repeated => values.extend(unpacked),
                Some((_, values)) => *values = unpacked,
                None => fields.push((field, unpacked)),
            }
        }
        for (field, values) in fields {
            self.key(&field.name);
            self.path.push(Segment::Field(&field.name));
            let is_map = field.message().is_some_and(|message| message.is_map_entry);
            if is_map {
                self.map(field, &values);
            } else if field.repeated {
                self.array(values.into_iter().enumerate(), |writer, (index, raw)| {
                    writer.path.push(Segment::Index(index));
                    writer.value(field, raw);
                    writer.path.pop();
                });
            } else if let Some(raw) = values.last() {
                self.value(field, *raw);
            }
            self.path.pop();
        }
        for name in unknown {
            self.key(&name);
            self.out.push_str("null");
        }
    }

    /// In the order of the keys, since the order in a message is any.
    fn map(&mut self, field: &'static Field, entries: &[Raw<'_>]) {
        let Some(entry) = field.message() else { return };
        let (Some(key), Some(value)) = (entry.field("key"), entry.field("value")) else {
            return;
        };
        let mut pairs: Vec<(String, &[u8])> = entries
            .iter()
            .filter_map(|raw| match raw {
                Raw::Bytes(bytes) => Some((key_text(key, last(bytes, 1)), *bytes)),
                _ => None,
            })
            .collect();
        pairs.sort();
        self.object(|writer| {
            for (key, bytes) in pairs {
                writer.key(&key);
                match last(bytes, 2) {
                    Some(raw) => writer.value(value, raw),
                    None if value.message().is_some() => writer.value(value, Raw::Bytes(&[])),
                    None if value.kind == Kind::String => writer.string(""),
                    None => writer.out.push('0'),
                }
            }
        });
    }

    fn value(&mut self, field: &'static Field, raw: Raw<'_>) {
        match (&field.kind, raw) {
            (Kind::Message(_), Raw::Bytes(bytes)) => match field.message() {
                Some(message) => self.message(message, bytes),
                None => self.out.push_str("{}"),
            },
            (Kind::String, Raw::Bytes(bytes)) => self.string(&String::from_utf8_lossy(bytes)),
            (Kind::Bytes, Raw::Bytes(bytes)) => {
                let text = base64(bytes);
                self.string(&text);
            }
            (Kind::Bool, Raw::Varint(value)) => {
                self.out.push_str(if value == 0 { "false" } else { "true" });
            }
            (Kind::Enum(_), Raw::Varint(value)) => {
                let number = value as i32;
                let name = field.enumeration().and_then(|kind| kind.value_name(number));
                match name {
                    Some(name) => self.string(name),
                    None => self.out.push_str(&number.to_string()),
                }
            }
            (Kind::Double, Raw::Fixed64(bits)) => self.float(f64::from_bits(bits)),
            (Kind::Float, Raw::Fixed32(bits)) => {
                let text = f32::from_bits(bits).to_string();
                self.float(text.parse().unwrap_or_default());
            }
            (kind, raw) => match integer(kind, raw) {
                (number, true) => self.string(&number.to_string()),
                (number, false) => self.out.push_str(&number.to_string()),
            },
        }
    }

    fn float(&mut self, value: f64) {
        if value.is_nan() {
            self.string("NaN");
        } else if value.is_infinite() {
            self.string(if value > 0.0 { "Infinity" } else { "-Infinity" });
        } else {
            // Debug writes large and small ones with an exponent, as JSON takes them.
            self.out.push_str(&format!("{value:?}"));
        }
    }

    fn duration(&mut self, view: &View<'_>) {
        let seconds = view.number("seconds") as i64;
        let nanos = view.number("nanos") as i32;
        let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
        let fraction = fraction(nanos.unsigned_abs());
        self.string(&format!("{sign}{}{fraction}s", seconds.unsigned_abs()));
    }

    fn timestamp(&mut self, view: &View<'_>) {
        let seconds = view.number("seconds") as i64;
        let fraction = fraction((view.number("nanos") as i32).unsigned_abs());
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // The civil calendar, in years that begin in March and eras of 400 years.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day = shifted.rem_euclid(146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        let year = year + era * 400 + carry;
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        self.string(&format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"
        ));
    }
}

fn fraction(nanos: u32) -> String {
    if nanos == 0 {
        return String::new();
    }
    let digits = format!("{nanos:09}");
    format!(".{}", digits.trim_end_matches('0'))
}

fn values(bytes: &[u8], number: u32) -> Vec<Raw<'_>> {
    wire::fields(bytes)
        .filter_map(Result::ok)
        .filter(|(other, _)| *other == number)
        .map(|(_, raw)| raw)
        .collect()
}

fn last(bytes: &[u8], number: u32) -> Option<Raw<'_>> {
    values(bytes, number).pop()
}

fn key_text(field: &Field, raw: Option<Raw<'_>>) -> String {
    match raw {
        Some(Raw::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(raw) if field.kind == Kind::Bool => (raw != Raw::Varint(0)).to_string(),
        Some(raw) => integer(&field.kind, raw).0.to_string(),
        None if field.kind == Kind::String => String::new(),
        None if field.kind == Kind::Bool => "false".to_owned(),
        None => "0".to_owned(),
    }
}

/// An integer, and whether JSON writes it as a string since it may have more than 53 bits.
fn integer(kind: &Kind, raw: Raw<'_>) -> (i128, bool) {
    let value = match raw {
        Raw::Varint(value) | Raw::Fixed64(value) => value,
        Raw::Fixed32(value) => u64::from(value),
        Raw::Bytes(_) => 0,
    };
    match kind {
        Kind::Uint64 | Kind::Fixed64 => (i128::from(value), true),
        Kind::Int64 | Kind::Sfixed64 => (i128::from(value as i64), true),
        Kind::Sint64 => (
            i128::from((value >> 1) as i64 ^ -((value & 1) as i64)),
            true,
        ),
        Kind::Sint32 => (
            i128::from((value >> 1) as i64 ^ -((value & 1) as i64)),
            false,
        ),
        Kind::Uint32 | Kind::Fixed32 => (i128::from(value), false),
        _ => (i128::from(value as i32), false),
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place > chunk.len() {
                text.push('=');
                continue;
            }
            let six = bits >> (18 - 6 * place) & 63;
            let letter = usize::try_from(six).ok().and_then(|six| LETTERS.get(six));
            text.push(char::from(letter.copied().unwrap_or(b'=')));
        }
    }
    text
}
