//! Steps through JSON that may have any shape.

use serde_json::{Map, Value};

/// The members of a value that is an object.
pub fn members(value: &mut Value) -> Option<&mut Map<String, Value>> {
    value.as_object_mut()
}

/// The elements of a member that is an array.
pub fn elements<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// Takes an array out of an object; empty where there is none.
pub fn take_array(value: &mut Value, key: &str) -> Vec<Value> {
    match value.get_mut(key).map(Value::take) {
        Some(Value::Array(elements)) => elements,
        _ => Vec::new(),
    }
}

/// Removes members.
pub fn remove(value: &mut Value, keys: &[&str]) {
    if let Some(members) = members(value) {
        for key in keys {
            members.remove(*key);
        }
    }
}

/// Sets a member.
pub fn set(value: &mut Value, key: &str, to: Value) {
    if let Some(members) = members(value) {
        members.insert(key.to_owned(), to);
    }
}

/// The message's name in the `@type` of an Any.
pub fn type_name(any: &Value) -> &str {
    let url = any.get("@type").and_then(Value::as_str).unwrap_or_default();
    url.rsplit('/').next().unwrap_or_default()
}

/// Whether the type is one that an Envoy can have built in.
pub fn is_envoys(any: &Value) -> bool {
    let name = type_name(any);
    ["envoy.", "google.protobuf.", "xds.", "udpa."]
        .iter()
        .any(|package| name.starts_with(package))
}
