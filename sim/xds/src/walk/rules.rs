//! The constraints that Envoy's .proto files carry (`validate.rules`), checked as Envoy checks
//! them when it takes a resource.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use envoy_types::pb::{
    google::protobuf::Duration,
    validate::{FieldRules, KnownRegex, StringRules, field_rules::Type, string_rules::WellKnown},
};
use prost::Message as _;
use twinmesh_re2::{DEFAULT_STATE_CAP, Dfa};

use crate::{
    schema::{Field, Kind, Message, Special},
    view::View,
    wire::{self, Raw},
};

/// How often each field of a message stands in it.
pub(super) struct Seen {
    counts: Vec<(u32, usize)>,
    /// Whether a field of the oneof at this index is set.
    oneofs: Vec<bool>,
}

impl Seen {
    pub(super) fn new(message: &Message) -> Seen {
        Seen {
            counts: Vec::with_capacity(8),
            oneofs: vec![false; message.oneofs.len()],
        }
    }

    /// Counts one more, and says how many there were before.
    pub(super) fn count(&mut self, field: &Field) -> usize {
        if let Some(set) = field.oneof.and_then(|index| self.oneofs.get_mut(index)) {
            *set = true;
        }
        let count = self
            .counts
            .iter_mut()
            .find(|(number, _)| *number == field.number);
        match count {
            Some((_, count)) => {
                *count += 1;
                *count - 1
            }
            None => {
                self.counts.push((field.number, 1));
                0
            }
        }
    }

    fn of(&self, field: &Field) -> usize {
        self.counts
            .iter()
            .find(|(number, _)| *number == field.number)
            .map_or(0, |(_, count)| *count)
    }
}

/// Whether a value is the default of its type.
pub(super) fn is_default(raw: Raw<'_>) -> bool {
    match raw {
        Raw::Varint(value) | Raw::Fixed64(value) => value == 0,
        Raw::Fixed32(value) => value == 0,
        Raw::Bytes(bytes) => bytes.is_empty(),
    }
}

/// Checks one value of a field, an element of a repeated one.
pub(super) fn value(field: &Field, raw: Raw<'_>) -> Result<(), String> {
    let Some(rules) = &field.rules else {
        return Ok(());
    };
    let rules = match (&rules.r#type, field.repeated) {
        (Some(Type::Repeated(repeated)), true) => match &repeated.items {
            Some(items) => items,
            None => return Ok(()),
        },
        (Some(Type::Map(_)), _) => return map_entry(rules, raw),
        (_, true) => return Ok(()),
        (_, false) => rules,
    };
    scalar(field, rules, raw)
}

fn map_entry(rules: &FieldRules, raw: Raw<'_>) -> Result<(), String> {
    let (Some(Type::Map(map)), Raw::Bytes(entry)) = (&rules.r#type, raw) else {
        return Ok(());
    };
    let Some(Type::String(rules)) = map.keys.as_ref().and_then(|keys| keys.r#type.as_ref()) else {
        return Ok(());
    };
    let key = wire::fields(entry)
        .filter_map(Result::ok)
        .find_map(|(number, value)| match value {
            Raw::Bytes(bytes) if number == 1 => std::str::from_utf8(bytes).ok(),
            _ => None,
        })
        .unwrap_or_default();
    string(rules, key).map_err(|problem| format!("the key {key:?}: {problem}"))
}

/// Checks what a message lacks: required fields and oneofs, fewest elements, and the rules of
/// fields that have no presence and stand at their default. The error names the field.
pub(super) fn whole(
    message: &'static Message,
    seen: &Seen,
    view: &View<'_>,
) -> Result<(), (Option<&'static str>, String)> {
    for (oneof, set) in message.oneofs.iter().zip(&seen.oneofs) {
        if oneof.required && !set {
            let names: Vec<&str> = message
                .fields
                .iter()
                .filter(|field| {
                    field
                        .oneof
                        .and_then(|index| message.oneofs.get(index))
                        .is_some_and(|of| std::ptr::eq(of, oneof))
                })
                .map(|field| field.name.as_str())
                .collect();
            let problem = format!(
                "{} needs one of {} ({})",
                message.name,
                names.join(", "),
                oneof.name
            );
            return Err((None, problem));
        }
    }
    for field in &message.fields {
        let Some(rules) = &field.rules else { continue };
        let count = seen.of(field);
        let name = Some(field.name.as_str());
        let fault = |problem: String| Err((name, problem));
        if count == 0 && field.oneof.is_none() {
            let required = rules.message.as_ref().is_some_and(|rules| rules.required())
                || matches!(&rules.r#type, Some(Type::Duration(rules)) if rules.required())
                || matches!(&rules.r#type, Some(Type::Any(rules)) if rules.required());
            if required {
                return fault(format!("{} is required", field.name));
            }
            if !field.repeated && !field.has_presence {
                let raw = match wire::wire_type(&field.kind) {
                    0 => Raw::Varint(0),
                    1 => Raw::Fixed64(0),
                    2 => Raw::Bytes(&[]),
                    _ => Raw::Fixed32(0),
                };
                scalar(field, rules, raw).map_err(|problem| (name, problem))?;
            }
        }
        match &rules.r#type {
            Some(Type::Repeated(rules)) => {
                let count = count as u64;
                if count == 0 && rules.ignore_empty() {
                    continue;
                }
                if rules.min_items.is_some_and(|least| count < least) {
                    return fault(format!(
                        "at least {} of {} are needed, there are {count}",
                        rules.min_items(),
                        field.name
                    ));
                }
                if rules.max_items.is_some_and(|most| count > most) {
                    return fault(format!(
                        "at most {} of {} may stand, there are {count}",
                        rules.max_items(),
                        field.name
                    ));
                }
                if rules.unique()
                    && let Some(twice) = duplicate(field, view)
                {
                    return fault(format!("{twice} stands twice"));
                }
            }
            Some(Type::Map(rules)) => {
                let count = count as u64;
                if rules.min_pairs.is_some_and(|least| count < least)
                    && !(count == 0 && rules.ignore_empty())
                {
                    return fault(format!("at least {} entries are needed", rules.min_pairs()));
                }
                if rules.max_pairs.is_some_and(|most| count > most) {
                    return fault(format!("at most {} entries may stand", rules.max_pairs()));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// An element that a field holds twice, in words.
fn duplicate(field: &Field, view: &View<'_>) -> Option<String> {
    let mut values: Vec<&[u8]> = wire::fields(view.bytes)
        .filter_map(Result::ok)
        .filter(|(number, _)| *number == field.number)
        .filter_map(|(_, raw)| match raw {
            Raw::Bytes(bytes) => Some(bytes),
            _ => None,
        })
        .collect();
    values.sort_unstable();
    let twice = values.windows(2).find(|pair| pair.first() == pair.last())?;
    let bytes = twice.first()?;
    Some(match field.kind {
        Kind::String => format!("{:?}", String::from_utf8_lossy(bytes)),
        _ => "an element".to_owned(),
    })
}

fn scalar(field: &Field, rules: &FieldRules, raw: Raw<'_>) -> Result<(), String> {
    let Some(rules) = &rules.r#type else {
        return Ok(());
    };
    // The rules of a wrapper are those of what it wraps.
    let raw = match (field.message(), raw) {
        (Some(message), Raw::Bytes(bytes)) if message.special == Special::Wrapper => {
            match wrapped(message, bytes) {
                Some(raw) => raw,
                None => return Ok(()),
            }
        }
        _ => raw,
    };
    let signed = |value: u64| i128::from(value as i64);
    match (rules, raw) {
        (Type::String(rules), Raw::Bytes(bytes)) => string(rules, &String::from_utf8_lossy(bytes)),
        (Type::Bytes(rules), Raw::Bytes(bytes)) => {
            if bytes.is_empty() && rules.ignore_empty() {
                return Ok(());
            }
            length(
                bytes.len() as u64,
                rules.len,
                rules.min_len,
                rules.max_len,
                "bytes",
            )
        }
        (Type::Enum(rules), Raw::Varint(value)) => {
            let number = value as i32;
            let Some(enumeration) = field.enumeration() else {
                return Ok(());
            };
            if rules.defined_only() && enumeration.value_name(number).is_none() {
                return Err(format!("{} has no value {number}", enumeration.name));
            }
            let refused = rules.not_in.contains(&number)
                || !rules.r#in.is_empty() && !rules.r#in.contains(&number)
                || rules.r#const.is_some_and(|only| only != number);
            if refused {
                let name = enumeration.value_name(number).unwrap_or("it");
                return Err(format!("{name} may not stand here"));
            }
            Ok(())
        }
        (Type::Bool(rules), Raw::Varint(value)) => match rules.r#const {
            Some(only) if only != (value != 0) => Err(format!("only {only} may stand here")),
            _ => Ok(()),
        },
        (Type::Uint32(rules), Raw::Varint(value)) => range(
            i128::from(value),
            [rules.gt, rules.gte, rules.lt, rules.lte, rules.r#const]
                .map(|edge| edge.map(i128::from)),
            rules.ignore_empty(),
            &rules.r#in,
            &rules.not_in,
        ),
        (Type::Uint64(rules), Raw::Varint(value)) => range(
            i128::from(value),
            [rules.gt, rules.gte, rules.lt, rules.lte, rules.r#const]
                .map(|edge| edge.map(i128::from)),
            rules.ignore_empty(),
            &rules.r#in,
            &rules.not_in,
        ),
        (Type::Int32(rules), Raw::Varint(value)) => range(
            signed(value),
            [rules.gt, rules.gte, rules.lt, rules.lte, rules.r#const]
                .map(|edge| edge.map(i128::from)),
            rules.ignore_empty(),
            &rules.r#in,
            &rules.not_in,
        ),
        (Type::Int64(rules), Raw::Varint(value)) => range(
            signed(value),
            [rules.gt, rules.gte, rules.lt, rules.lte, rules.r#const]
                .map(|edge| edge.map(i128::from)),
            rules.ignore_empty(),
            &rules.r#in,
            &rules.not_in,
        ),
        (Type::Double(rules), Raw::Fixed64(bits)) => float_range(
            f64::from_bits(bits),
            [rules.gt, rules.gte, rules.lt, rules.lte],
        ),
        (Type::Float(rules), Raw::Fixed32(bits)) => float_range(
            f64::from(f32::from_bits(bits)),
            [rules.gt, rules.gte, rules.lt, rules.lte].map(|edge| edge.map(f64::from)),
        ),
        (Type::Duration(rules), Raw::Bytes(bytes)) => {
            let value = nanoseconds(&Duration::decode(bytes).unwrap_or_default());
            let edge = |edge: &Option<Duration>| edge.as_ref().map(nanoseconds);
            let none: [i64; 0] = [];
            range(
                value,
                [
                    edge(&rules.gt),
                    edge(&rules.gte),
                    edge(&rules.lt),
                    edge(&rules.lte),
                    edge(&rules.r#const),
                ],
                false,
                &none,
                &none,
            )
            .map_err(|problem| format!("in nanoseconds: {problem}"))
        }
        _ => Ok(()),
    }
}

fn wrapped<'a>(message: &'static Message, bytes: &'a [u8]) -> Option<Raw<'a>> {
    let kind = &message.field("value")?.kind;
    let value = wire::fields(bytes)
        .filter_map(Result::ok)
        .filter(|(number, _)| *number == 1)
        .last();
    Some(match (value, wire::wire_type(kind)) {
        (Some((_, raw)), _) => raw,
        (None, 0) => Raw::Varint(0),
        (None, 1) => Raw::Fixed64(0),
        (None, 2) => Raw::Bytes(&[]),
        (None, _) => Raw::Fixed32(0),
    })
}

fn nanoseconds(duration: &Duration) -> i128 {
    i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos)
}

/// The edges are greater than, at least, less than, at most, exactly.
fn range<T: Copy + Into<i128>>(
    value: i128,
    [gt, gte, lt, lte, only]: [Option<i128>; 5],
    ignore_empty: bool,
    allowed: &[T],
    refused: &[T],
) -> Result<(), String> {
    if ignore_empty && value == 0 {
        return Ok(());
    }
    let contains = |list: &[T]| list.iter().any(|item| (*item).into() == value);
    let problem = if let Some(edge) = only.filter(|edge| value != *edge) {
        format!("{edge} was expected")
    } else if let Some(edge) = gt.filter(|edge| value <= *edge) {
        format!("more than {edge} was expected")
    } else if let Some(edge) = gte.filter(|edge| value < *edge) {
        format!("at least {edge} was expected")
    } else if let Some(edge) = lt.filter(|edge| value >= *edge) {
        format!("less than {edge} was expected")
    } else if let Some(edge) = lte.filter(|edge| value > *edge) {
        format!("at most {edge} was expected")
    } else if !allowed.is_empty() && !contains(allowed) || contains(refused) {
        "another value was expected".to_owned()
    } else {
        return Ok(());
    };
    Err(format!("{problem}, {value} found"))
}

fn float_range(value: f64, [gt, gte, lt, lte]: [Option<f64>; 4]) -> Result<(), String> {
    let bounded = [gt, gte, lt, lte].iter().any(Option::is_some);
    let problem = if bounded && value.is_nan() {
        "a number".to_owned()
    } else if let Some(edge) = gt.filter(|edge| value <= *edge) {
        format!("more than {edge}")
    } else if let Some(edge) = gte.filter(|edge| value < *edge) {
        format!("at least {edge}")
    } else if let Some(edge) = lt.filter(|edge| value >= *edge) {
        format!("less than {edge}")
    } else if let Some(edge) = lte.filter(|edge| value > *edge) {
        format!("at most {edge}")
    } else {
        return Ok(());
    };
    Err(format!("{problem} was expected, {value} found"))
}

fn length(
    length: u64,
    exactly: Option<u64>,
    least: Option<u64>,
    most: Option<u64>,
    unit: &str,
) -> Result<(), String> {
    if let Some(exactly) = exactly.filter(|exactly| *exactly != length) {
        return Err(format!(
            "exactly {exactly} {unit} were expected, {length} found"
        ));
    }
    match (least, most) {
        (Some(1), _) if length == 0 => Err("it may not be empty".to_owned()),
        (Some(least), _) if length < least => Err(format!(
            "at least {least} {unit} were expected, {length} found"
        )),
        (_, Some(most)) if length > most => Err(format!(
            "at most {most} {unit} were expected, {length} found"
        )),
        _ => Ok(()),
    }
}

fn string(rules: &StringRules, text: &str) -> Result<(), String> {
    if text.is_empty() && rules.ignore_empty() {
        return Ok(());
    }
    let bytes = text.len() as u64;
    let characters = if text.is_ascii() {
        bytes
    } else {
        text.chars().count() as u64
    };
    length(
        characters,
        rules.len,
        rules.min_len,
        rules.max_len,
        "characters",
    )?;
    length(
        bytes,
        rules.len_bytes,
        rules.min_bytes,
        rules.max_bytes,
        "bytes",
    )?;
    if let Some(only) = rules.r#const.as_ref().filter(|only| *only != text) {
        return Err(format!("{only:?} was expected, {text:?} found"));
    }
    if let Some(start) = rules
        .prefix
        .as_ref()
        .filter(|start| !text.starts_with(*start))
    {
        return Err(format!("it should start with {start:?}, {text:?} found"));
    }
    if let Some(end) = rules.suffix.as_ref().filter(|end| !text.ends_with(*end)) {
        return Err(format!("it should end in {end:?}, {text:?} found"));
    }
    if let Some(part) = rules
        .not_contains
        .as_ref()
        .filter(|part| text.contains(*part))
    {
        return Err(format!("it may not hold {part:?}, {text:?} found"));
    }
    if !matches_pattern(&rules.pattern, text) {
        return Err(format!(
            "it should match the regex {:?}, {text:?} found",
            rules.pattern()
        ));
    }
    let listed = |list: &[String]| list.iter().any(|item| item == text);
    if !rules.r#in.is_empty() && !listed(&rules.r#in) {
        return Err(format!(
            "one of {:?} was expected, {text:?} found",
            rules.r#in
        ));
    }
    if listed(&rules.not_in) {
        return Err(format!("{text:?} may not stand here"));
    }
    match &rules.well_known {
        Some(WellKnown::WellKnownRegex(kind)) => known_regex(*kind, rules.strict(), text),
        _ => Ok(()),
    }
}

/// Whether a text matches one of the few regexes in Envoy's .proto files, all of them anchored.
fn matches_pattern(pattern: &Option<String>, text: &str) -> bool {
    static COMPILED: Mutex<BTreeMap<String, Option<Dfa>>> = Mutex::new(BTreeMap::new());
    let Some(pattern) = pattern else { return true };
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if !compiled.contains_key(pattern) {
        let dfa = Dfa::new(pattern, DEFAULT_STATE_CAP).ok();
        compiled.insert(pattern.clone(), dfa);
    }
    match compiled.get(pattern) {
        Some(Some(dfa)) => dfa.is_match(text.as_bytes()),
        _ => true,
    }
}

/// Header names and values. Strict: names are tokens, with an optional colon before them.
fn known_regex(kind: i32, strict: bool, text: &str) -> Result<(), String> {
    let bad = |byte: u8| {
        if strict && kind == KnownRegex::HttpHeaderName as i32 {
            !(byte.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&byte))
        } else if strict && kind == KnownRegex::HttpHeaderValue as i32 {
            byte < 0x20 && byte != b'\t' || byte == 0x7f
        } else {
            matches!(byte, 0 | b'\n' | b'\r')
        }
    };
    let is_name = strict && kind == KnownRegex::HttpHeaderName as i32;
    let rest = match text.strip_prefix(':') {
        Some(rest) if is_name => rest,
        _ => text,
    };
    if is_name && rest.is_empty() {
        return Err("a header name was expected, an empty one found".to_owned());
    }
    match rest.bytes().find(|byte| bad(*byte)) {
        Some(byte) => Err(format!(
            "the byte {byte:#04x} may not stand in a header, {text:?} found"
        )),
        None => Ok(()),
    }
}
