//! What one level of a route configuration does to headers.

#![allow(deprecated)] // Envoy decides by what it has deprecated

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction as Append,
};
use twinmesh_engine::Level;

use super::entries::Entries;
use super::format::{self, Asked};

/// The mutations of a level.
#[derive(Debug, Clone, Copy)]
pub struct Mutations<'a> {
    pub level: Level,
    pub add: &'a [HeaderValueOption],
    pub remove: &'a [String],
}

impl Mutations<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// The names that they name, in lower case.
    pub fn names(&self) -> Vec<String> {
        let added = self.add.iter().map(key);
        let removed = self.remove.iter().map(|name| name.to_ascii_lowercase());
        added.chain(removed).collect()
    }

    /// Changes the headers of a request.
    pub fn change_request(&self, request: &mut Entries, asked: &Asked<'_>) {
        self.clear(request);
        let values = self.evaluate(|format| format::value(format, "", request, None, asked));
        put(values, request);
    }

    /// Changes the headers of the response to a request.
    pub fn change_response(&self, request: &Entries, response: &mut Entries, asked: &Asked<'_>) {
        self.clear(response);
        let values = self.evaluate(|format| {
            let response = Some(&*response);
            format::value(format, "", request, response, asked)
        });
        put(values, response);
    }

    fn clear(&self, entries: &mut Entries) {
        for name in self.remove {
            entries.clear(&name.to_ascii_lowercase());
        }
    }

    /// All values, before one of them is put: none sees another. Empty ones are left out, unless
    /// they are to be kept.
    fn evaluate(&self, value: impl Fn(&str) -> Option<String>) -> Vec<Put> {
        let puts = self.add.iter().map(|option| {
            let format = option.header.as_ref().map_or("", |header| &header.value);
            let value = value(format);
            let is_left_out = value.as_deref() == Some("") && !option.keep_empty_value;
            (!is_left_out).then(|| Put {
                name: key(option),
                value,
                append: append(option),
            })
        });
        puts.flatten().collect()
    }
}

/// A value to put, where it is known.
struct Put {
    name: String,
    value: Option<String>,
    append: Append,
}

fn key(option: &HeaderValueOption) -> String {
    let header = option.header.as_ref();
    header.map_or_else(String::new, |header| header.key.to_ascii_lowercase())
}

fn append(option: &HeaderValueOption) -> Append {
    match option.append.as_ref().map(|append| append.value) {
        Some(true) => Append::AppendIfExistsOrAdd,
        Some(false) => Append::OverwriteIfExistsOrAdd,
        None => Append::try_from(option.append_action).unwrap_or(Append::AppendIfExistsOrAdd),
    }
}

/// Lines that take the place of others go first; whether there are others is asked before.
fn put(values: Vec<Put>, entries: &mut Entries) {
    let (mut over, mut beside) = (Vec::new(), Vec::new());
    for mut put in values {
        let is_there = entries.values(&put.name).map(|lines| !lines.is_empty());
        match (put.append, is_there) {
            (Append::AppendIfExistsOrAdd, _) | (Append::AddIfAbsent, Some(false)) => {
                beside.push(put);
            }
            (Append::OverwriteIfExistsOrAdd, _) | (Append::OverwriteIfExists, Some(true)) => {
                over.push(put);
            }
            // Whether it is put is not known, so what comes of it is not.
            (Append::AddIfAbsent, None) => {
                put.value = None;
                beside.push(put);
            }
            (Append::OverwriteIfExists, None) => {
                put.value = None;
                over.push(put);
            }
            (Append::AddIfAbsent | Append::OverwriteIfExists, Some(_)) => {}
        }
    }
    for Put { name, value, .. } in over {
        match value {
            Some(value) => entries.write(&name, value),
            None => entries.forget(&name),
        }
    }
    for Put { name, value, .. } in beside {
        match value {
            Some(value) => entries.push(&name, value),
            None => entries.forget(&name),
        }
    }
}
