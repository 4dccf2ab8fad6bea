//! Envoy's access log in JSON: one object a line, whose keys stand for what they commonly do.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::{self, Field, Mapping};
use super::reading::Reading;

/// What a key stands for, where nothing else is said. Of several for one field, the first that the
/// line has counts.
const KEYS: [(&str, Common); 34] = [
    ("start_time", Common::Field(Field::Time)),
    ("timestamp", Common::Field(Field::Time)),
    ("@timestamp", Common::Field(Field::Time)),
    ("time", Common::Field(Field::Time)),
    ("method", Common::Field(Field::Method)),
    (":method", Common::Field(Field::Method)),
    ("request_method", Common::Field(Field::Method)),
    ("x-envoy-original-path", Common::Field(Field::Path)),
    ("x-envoy-origin-path", Common::Field(Field::Path)),
    ("path", Common::Field(Field::Path)),
    (":path", Common::Field(Field::Path)),
    ("request_path", Common::Field(Field::Path)),
    ("authority", Common::Field(Field::Authority)),
    (":authority", Common::Field(Field::Authority)),
    ("host", Common::Field(Field::Authority)),
    ("scheme", Common::Field(Field::Scheme)),
    (":scheme", Common::Field(Field::Scheme)),
    ("protocol", Common::Field(Field::Protocol)),
    ("duration", Common::Field(Field::DurationMs)),
    ("downstream_remote_address", Common::Field(Field::Source)),
    (
        "downstream_direct_remote_address",
        Common::Field(Field::Source),
    ),
    (
        "downstream_local_address",
        Common::Field(Field::Destination),
    ),
    ("requested_server_name", Common::Field(Field::Sni)),
    ("downstream_tls_version", Common::Field(Field::Tls)),
    ("connection_id", Common::Field(Field::Connection)),
    ("user_agent", Common::Header("user-agent")),
    ("user-agent", Common::Header("user-agent")),
    ("x_forwarded_for", Common::Header("x-forwarded-for")),
    ("x-forwarded-for", Common::Header("x-forwarded-for")),
    ("request_id", Common::Header("x-request-id")),
    ("x_request_id", Common::Header("x-request-id")),
    ("x-request-id", Common::Header("x-request-id")),
    ("referer", Common::Header("referer")),
    ("accept", Common::Header("accept")),
];

enum Common {
    Field(Field),
    Header(&'static str),
}

/// Reads a log.
pub fn read(bytes: &[u8], map: &[Mapping]) -> Reading {
    let mut reading = Reading::default();
    let mut unused = BTreeSet::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Value>(line) {
            Ok(Value::Object(object)) => match values(&Value::Object(object), map, &mut unused) {
                Ok(values) => fields::add(&mut reading, number, &values),
                Err(problem) => reading.bad(number, problem),
            },
            Ok(other) => reading.bad(
                number,
                format!("expected an object, found {}", kind(&other)),
            ),
            Err(error) => reading.bad(
                format!("{number}:{}", error.column()),
                format!("not valid JSON: {error}"),
            ),
        }
    }
    if !unused.is_empty() {
        let names: Vec<String> = unused.iter().cloned().collect();
        reading.notes.count_many(
            names.len(),
            &format!(
                "keys are not used (--map gives a key a field): {}",
                names.join(", ")
            ),
        );
    }
    reading
}

/// The values of a line. What was said by the caller goes first, and takes the key from its
/// common field.
fn values(
    object: &Value,
    map: &[Mapping],
    unused: &mut BTreeSet<String>,
) -> Result<Vec<(Field, String)>, String> {
    let mut values: Vec<(Field, String)> = Vec::new();
    for mapping in map {
        let mut found = object.get(&mapping.key);
        if found.is_none() {
            found = mapping
                .key
                .split('.')
                .try_fold(object, |value, key| value.get(key));
        }
        if let Some(found) = found
            && mapping.field != Field::Ignored
        {
            add(&mut values, &mapping.field, &mapping.key, found)?;
        }
    }
    let is_mapped = |key: &str| {
        map.iter().any(|mapping| {
            mapping.key == key
                || mapping
                    .key
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.starts_with('.'))
        })
    };
    for (key, common) in &KEYS {
        if is_mapped(key) {
            continue;
        }
        if let Some(found) = object.get(*key) {
            let field = match common {
                Common::Field(field) => field.clone(),
                Common::Header(name) => Field::Header((*name).to_owned()),
            };
            add(&mut values, &field, key, found)?;
        }
    }
    for key in object
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys())
    {
        if !is_mapped(key) && !KEYS.iter().any(|(common, _)| common == key) {
            unused.insert(key.clone());
        }
    }
    Ok(values)
}

/// Adds a value, unless its field has one.
fn add(
    values: &mut Vec<(Field, String)>,
    field: &Field,
    key: &str,
    value: &Value,
) -> Result<(), String> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(false) if *field == Field::Tls => return Ok(()),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(_) | Value::Object(_) => {
            return Err(format!("{key}: expected one value, found {}", kind(value)));
        }
    };
    let has_one = values
        .iter()
        .any(|(other, value)| other == field && !matches!(value.as_str(), "" | "-"));
    if !has_one {
        values.push((field.clone(), text));
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
