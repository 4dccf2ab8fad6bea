//! `request_headers_to_add` and its like.

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction,
};

use super::format::{self, Context};
use super::{Known, Lines, Undecided};

/// What one place of a configuration does to headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mutation<'a> {
    /// Headers to add.
    pub(super) add: &'a [HeaderValueOption],
    /// Names of headers to remove.
    pub(super) remove: &'a [String],
}

/// Changes the lines of a request.
pub(super) fn of_request(mutation: Mutation<'_>, request: &mut Lines) {
    remove(mutation, request);
    let context = Context {
        request,
        response: None,
    };
    let values = evaluate(mutation, &context);
    add(values, request);
}

/// Changes the lines of a response.
pub(super) fn of_response(mutation: Mutation<'_>, request: &Lines, response: &mut Lines) {
    remove(mutation, response);
    let context = Context {
        request,
        response: Some(response),
    };
    let values = evaluate(mutation, &context);
    add(values, response);
}

fn remove(mutation: Mutation<'_>, lines: &mut Lines) {
    for name in mutation.remove {
        lines.remove(name);
    }
}

/// A header with the value that is to be added.
struct Value<'a> {
    name: &'a str,
    value: Known<String>,
    action: HeaderAppendAction,
    keeps_empty: bool,
}

/// Every value, before any of them is added: none sees another.
fn evaluate<'a>(mutation: Mutation<'a>, context: &Context<'_>) -> Vec<Value<'a>> {
    mutation
        .add
        .iter()
        .filter_map(|option| {
            let header = option.header.as_ref()?;
            let value = if header.raw_value.is_empty() {
                format::value(&header.value, context)
            } else {
                match std::str::from_utf8(&header.raw_value) {
                    Ok(raw) => Ok(raw.to_owned()),
                    Err(_) => Err(Undecided::new("a raw_value that is not UTF-8")),
                }
            };
            Some(Value {
                name: &header.key,
                value,
                action: action(option),
                keeps_empty: option.keep_empty_value,
            })
        })
        .collect()
}

fn action(option: &HeaderValueOption) -> HeaderAppendAction {
    match &option.append {
        Some(append) if append.value => HeaderAppendAction::AppendIfExistsOrAdd,
        Some(_) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        None => HeaderAppendAction::try_from(option.append_action)
            .unwrap_or(HeaderAppendAction::AppendIfExistsOrAdd),
    }
}

/// Whether a line is put in the place of others is asked of the lines as they were, and such lines
/// go before those that are added.
fn add(values: Vec<Value<'_>>, lines: &mut Lines) {
    let mut overwriting = Vec::new();
    let mut added = Vec::new();
    for value in values {
        if matches!(&value.value, Ok(text) if text.is_empty() && !value.keeps_empty) {
            continue;
        }
        match value.action {
            HeaderAppendAction::AppendIfExistsOrAdd => added.push(value),
            HeaderAppendAction::OverwriteIfExistsOrAdd => overwriting.push(value),
            HeaderAppendAction::AddIfAbsent => match lines.has(value.name) {
                Ok(true) => {}
                Ok(false) => added.push(value),
                Err(_) => {}
            },
            HeaderAppendAction::OverwriteIfExists => match lines.has(value.name) {
                Ok(true) => overwriting.push(value),
                Ok(false) => {}
                // It stays as unknown as it was.
                Err(_) => {}
            },
        }
    }
    for value in overwriting {
        match value.value {
            Ok(text) => lines.set(value.name, text),
            Err(reason) => {
                lines.remove(value.name);
                lines.lose(value.name, reason);
            }
        }
    }
    for value in added {
        match value.value {
            Ok(text) => lines.add(value.name, text),
            Err(reason) => lines.lose(value.name, reason),
        }
    }
}
