//! `request_headers_to_add` and its like: mutations of one level of a route configuration, and in
//! which order the levels come.

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, weighted_cluster::ClusterWeight,
};
use twinmesh_engine::{Level, MutationOf};

use crate::format::{self, Context, Facts};
use crate::lines::{Known, Lines, Undecided};

/// What one level of a configuration does to headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutation<'a> {
    /// Which level it is.
    pub(crate) level: Level,
    /// Headers to add.
    pub(crate) add: &'a [HeaderValueOption],
    /// Names of headers to remove.
    pub(crate) remove: &'a [String],
}

impl Mutation<'_> {
    /// Whether it changes anything.
    pub(crate) fn acts(&self) -> bool {
        !self.add.is_empty() || !self.remove.is_empty()
    }

    /// The headers that it names, in lower case.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let added = self.add.iter().filter_map(|option| option.header.as_ref());
        let added = added.map(|header| header.key.as_str());
        let removed = self.remove.iter().map(String::as_str);
        added.chain(removed).map(str::to_ascii_lowercase)
    }
}

/// What changes the headers of a request, or of its response, in order: the weighted cluster first,
/// then route, virtual host and route configuration, or those three the other way round.
pub(crate) fn of_levels<'a>(
    of: MutationOf,
    table: Option<&'a RouteConfiguration>,
    host: Option<&'a VirtualHost>,
    route: &'a Route,
    weighted: Option<&'a ClusterWeight>,
) -> Vec<Mutation<'a>> {
    macro_rules! at {
        ($level:ident, $message:expr) => {
            match of {
                MutationOf::Request => Mutation {
                    level: Level::$level,
                    add: &$message.request_headers_to_add,
                    remove: &$message.request_headers_to_remove,
                },
                MutationOf::Response => Mutation {
                    level: Level::$level,
                    add: &$message.response_headers_to_add,
                    remove: &$message.response_headers_to_remove,
                },
            }
        };
    }
    let mut levels = vec![at!(Route, route)];
    levels.extend(host.map(|host| at!(VirtualHost, host)));
    levels.extend(table.map(|table| at!(RouteConfiguration, table)));
    if table.is_some_and(|table| table.most_specific_header_mutations_wins) {
        levels.reverse();
    }
    if let Some(weighted) = weighted {
        levels.insert(0, at!(WeightedCluster, weighted));
    }
    levels
}

/// Changes the lines of a request.
pub(crate) fn of_request(mutation: Mutation<'_>, request: &mut Lines, facts: &Facts<'_>) {
    remove(mutation, request);
    let context = Context {
        request,
        response: None,
        facts,
    };
    let values = evaluate(mutation, &context);
    add(values, request);
}

/// Changes the lines of a response.
pub(crate) fn of_response(
    mutation: Mutation<'_>,
    request: &Lines,
    response: &mut Lines,
    facts: &Facts<'_>,
) {
    remove(mutation, response);
    let context = Context {
        request,
        response: Some(response),
        facts,
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

impl Value<'_> {
    /// The same where it is not known whether it is put at all.
    fn unknown(self, reason: Undecided) -> Self {
        Self {
            value: Err(reason),
            ..self
        }
    }
}

/// Every value, before any of them is added: none sees another.
fn evaluate<'a>(mutation: Mutation<'a>, context: &Context<'_>) -> Vec<Value<'a>> {
    mutation
        .add
        .iter()
        .filter_map(|option| {
            let header = option.header.as_ref()?;
            // Envoy does not look at raw_value here.
            let value = format::value(&header.value, "", context);
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
                Err(reason) => added.push(value.unknown(reason)),
            },
            HeaderAppendAction::OverwriteIfExists => match lines.has(value.name) {
                Ok(true) => overwriting.push(value),
                Ok(false) => {}
                Err(reason) => overwriting.push(value.unknown(reason)),
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
