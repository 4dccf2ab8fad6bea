//! Messages whose JSON form is their own.

use super::Encoder;
use crate::{
    error::ReadError,
    path::Segment,
    schema::{Message, Special, schema},
    text::{Node, Value},
    wire,
};

/// The largest Duration, in seconds: about 10,000 years.
const MAX_SECONDS: i64 = 315_576_000_000;

impl Encoder<'_> {
    pub(super) fn special(
        &mut self,
        message: &'static Message,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        match message.special {
            Special::Any => self.any(node, out),
            Special::Duration => self.duration(message, node, out),
            Special::Timestamp => self.timestamp(node, out),
            Special::FieldMask => self.field_mask(node, out),
            Special::Wrapper => self.wrapper(message, node, out),
            Special::Struct => match message.field("fields") {
                Some(fields) => self.field(fields, node, out),
                None => Ok(()),
            },
            Special::ListValue => match (message.field("values"), &node.value) {
                (Some(values), Value::Array(_)) => self.field(values, node, out),
                _ => self.mismatch(node, "an array"),
            },
            Special::Value => self.any_value(message, node, out),
            Special::No => self.members(message, node, None, out),
        }
    }

    fn any(&mut self, node: &Node<'_>, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let Value::Object(members) = &node.value else {
            return self.mismatch(node, "an object with \"@type\"");
        };
        let Some(type_node) = node.member(&["@type"]) else {
            if members.is_empty() {
                return Ok(());
            }
            return self.mismatch(node, "an object with \"@type\"");
        };
        let Some(type_url) = type_node.text() else {
            return self.mismatch(type_node, "a type URL, as \"type.googleapis.com/…\"");
        };
        wire::put_bytes(out, 1, type_url.as_bytes());
        // A type that is not built in has no content here; who walks over the Any reports it.
        let Some(message) = schema().message_of_url(type_url) else {
            return Ok(());
        };
        wire::put_tag(out, 2, 2);
        let start = out.len();
        // Each Any is decoded on its own; how deep text nests is limited already.
        let depth = std::mem::take(&mut self.depth);
        if message.special == Special::No {
            self.members(message, node, Some("@type"), out)?;
        } else {
            match node.member(&["value"]) {
                Some(value) => self.message(message, value, out)?,
                // Envoy writes an empty one so.
                None if members.len() == 1 => {}
                None => return self.mismatch(node, "an object with \"@type\" and \"value\""),
            }
        }
        self.depth = depth;
        wire::put_length(out, start);
        Ok(())
    }

    fn duration(
        &mut self,
        message: &'static Message,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        const EXPECTED: &str = "a duration, as \"1.5s\"";
        match &node.value {
            Value::Object(_) => self.members(message, node, None, out),
            Value::String(text) => match duration(text) {
                Some((seconds, nanos)) => {
                    put_time(out, seconds, nanos);
                    Ok(())
                }
                None => self.mismatch(node, EXPECTED),
            },
            _ => self.mismatch(node, EXPECTED),
        }
    }

    fn timestamp(&mut self, node: &Node<'_>, out: &mut Vec<u8>) -> Result<(), ReadError> {
        match node.text().and_then(timestamp) {
            Some((seconds, nanos)) => {
                put_time(out, seconds, nanos);
                Ok(())
            }
            None => self.mismatch(node, "a time, as \"2026-01-31T23:59:59.123Z\""),
        }
    }

    fn field_mask(&mut self, node: &Node<'_>, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let Some(text) = node.text() else {
            return self.mismatch(node, "field paths with commas between them");
        };
        for path in text.split(',').filter(|path| !path.is_empty()) {
            wire::put_bytes(out, 1, path.as_bytes());
        }
        Ok(())
    }

    fn wrapper(
        &mut self,
        message: &'static Message,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let Some(value) = message.field("value") else {
            return Ok(());
        };
        // Envoy's parser takes the long form too.
        match node.member(&["value"]) {
            Some(inner) => self.value(value, inner, out),
            None => self.value(value, node, out),
        }
    }

    fn any_value(
        &mut self,
        message: &'static Message,
        node: &Node<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let name = match &node.value {
            Value::Null => "null_value",
            Value::Bool(_) => "bool_value",
            Value::Number(_) => "number_value",
            Value::String(_) => "string_value",
            Value::Array(_) => "list_value",
            Value::Object(_) => "struct_value",
        };
        match message.field(name) {
            Some(field) => {
                self.path.push(Segment::Field(&field.name));
                self.value(field, node, out)?;
                self.path.pop();
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Duration and Timestamp have the same fields.
fn put_time(out: &mut Vec<u8>, seconds: i64, nanos: i32) {
    if seconds != 0 {
        wire::put_tag(out, 1, 0);
        wire::put_varint(out, seconds as u64);
    }
    if nanos != 0 {
        wire::put_tag(out, 2, 0);
        wire::put_varint(out, i64::from(nanos) as u64);
    }
}

fn duration(text: &str) -> Option<(i64, i32)> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    let seconds = digits(whole)?;
    let nanos = nanos(fraction)?;
    if seconds > MAX_SECONDS {
        return None;
    }
    Some(if negative {
        (-seconds, -nanos)
    } else {
        (seconds, nanos)
    })
}

fn digits(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Up to nine digits after a point.
fn nanos(fraction: &str) -> Option<i32> {
    if fraction.is_empty() {
        return Some(0);
    }
    let places = u32::try_from(fraction.len())
        .ok()
        .filter(|places| *places <= 9)?;
    let value = i32::try_from(digits(fraction)?).ok()?;
    value.checked_mul(10_i32.checked_pow(9 - places)?)
}

/// RFC 3339.
fn timestamp(text: &str) -> Option<(i64, i32)> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut date = date.split('-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if date.next().is_some() {
        return None;
    }
    let (time, offset) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let at = time.rfind(['+', '-'])?;
            let (time, zone) = time.split_at_checked(at)?;
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let offset = digits(hours)? * 3600 + digits(minutes)? * 60;
            (
                time,
                if zone.starts_with('-') {
                    -offset
                } else {
                    offset
                },
            )
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.split(':').map(digits);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let valid = time.next().is_none()
        && (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid {
        return None;
    }
    // Days from the civil calendar, with years that begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some((seconds, nanos(fraction)?))
}
