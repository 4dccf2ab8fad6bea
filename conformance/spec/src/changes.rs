//! What a connection manager changes of a request before it is routed, field by field, for whoever
//! asks why a route did not take it.

use envoy_types::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::StripPortMode,
};
use twinmesh_engine::Request;

use crate::head;
use crate::host;
use crate::message::Message;
use crate::path_normalization::{Normalized, normalize};

/// The field by which headers are dropped.
pub(crate) const UNDERSCORES: &str = "common_http_protocol_options.headers_with_underscores_action";

/// A part of a request that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `:authority`.
    Host,
    /// `:path`.
    Path,
    /// A header, which is dropped.
    Header,
}

/// What one field of the connection manager changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The field of `HttpConnectionManager`.
    pub field: &'static str,
    /// What is changed.
    pub part: Part,
    /// The text before; of a header its name and value.
    pub before: String,
    /// The text after; `None`: it is dropped.
    pub after: Option<String>,
}

/// The message with its path normalised; `None` where the connection manager answers instead.
pub(crate) fn with_path(manager: &HttpConnectionManager, message: Message) -> Option<Message> {
    if message.is_connect() {
        return Some(message);
    }
    match normalize(manager, &message.path) {
        Normalized::Path(path) => Some(Message { path, ..message }),
        Normalized::Redirect(_) | Normalized::Refused => None,
    }
}

/// The changes, in the order in which they are made.
pub(crate) fn of(request: &Request, manager: &HttpConnectionManager, port: u16) -> Vec<Change> {
    let mut own = manager.clone();
    own.strip_trailing_host_dot = false;
    own.strip_matching_host_port = false;
    own.strip_port_mode = None;
    let Ok(message) = head::read(request, &own, Some(port)) else {
        return Vec::new();
    };
    let dropped = dropped(request, manager).map(|(name, value)| Change {
        field: UNDERSCORES,
        part: Part::Header,
        before: format!("{name}: {value}"),
        after: None,
    });
    let mut changes: Vec<Change> = dropped.collect();
    changes.extend(of_host(&message.authority, manager, port));
    if !message.is_connect() {
        changes.extend(of_path(&message.path, manager));
    }
    changes
}

/// The headers that are dropped, as the client sent them.
pub(crate) fn dropped<'a>(
    request: &'a Request,
    manager: &HttpConnectionManager,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let options = manager.common_http_protocol_options.as_ref();
    let drops = options.is_some_and(|options| {
        options.headers_with_underscores_action == HeadersWithUnderscoresAction::DropHeader as i32
    });
    let headers = request.headers.iter();
    headers
        .filter(move |(name, _)| drops && name.contains('_'))
        .map(|(name, value)| (name.as_str(), value.trim()))
}

fn of_host(authority: &str, manager: &HttpConnectionManager, port: u16) -> Vec<Change> {
    let dot = HttpConnectionManager {
        strip_trailing_host_dot: manager.strip_trailing_host_dot,
        ..HttpConnectionManager::default()
    };
    let strips_any = manager.strip_port_mode == Some(StripPortMode::StripAnyHostPort(true));
    let of_port = match strips_any {
        true => "strip_any_host_port",
        false => "strip_matching_host_port",
    };
    let steps = [("strip_trailing_host_dot", &dot), (of_port, manager)];
    let mut before = authority.to_owned();
    let mut changes = Vec::new();
    for (field, manager) in steps {
        let after = host::strip(authority, manager, Some(port));
        changes.extend(changed(field, Part::Host, &before, &after));
        before = after;
    }
    changes
}

fn of_path(path: &str, manager: &HttpConnectionManager) -> Vec<Change> {
    let mut by = HttpConnectionManager {
        path_with_escaped_slashes_action: manager.path_with_escaped_slashes_action,
        ..HttpConnectionManager::default()
    };
    let slashes = by.clone();
    by.normalize_path = manager.normalize_path;
    let normalized = by.clone();
    by.merge_slashes = manager.merge_slashes;
    let steps = [
        ("path_with_escaped_slashes_action", slashes),
        ("normalize_path", normalized),
        ("merge_slashes", by),
    ];
    let mut before = path.to_owned();
    let mut changes = Vec::new();
    for (field, manager) in steps {
        let after = match normalize(&manager, path) {
            Normalized::Path(path) | Normalized::Redirect(path) => path,
            Normalized::Refused => break,
        };
        changes.extend(changed(field, Part::Path, &before, &after));
        before = after;
    }
    changes
}

fn changed(field: &'static str, part: Part, before: &str, after: &str) -> Option<Change> {
    (before != after).then(|| Change {
        field,
        part,
        before: before.to_owned(),
        after: Some(after.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::BoolValue;

    use super::*;

    fn told(changes: &[Change]) -> Vec<(&str, &str, &str)> {
        changes
            .iter()
            .map(|it| {
                (
                    it.field,
                    it.before.as_str(),
                    it.after.as_deref().unwrap_or(""),
                )
            })
            .collect()
    }

    #[test]
    fn each_field_has_what_it_changes() {
        let manager = HttpConnectionManager {
            normalize_path: Some(BoolValue { value: true }),
            merge_slashes: true,
            path_with_escaped_slashes_action: 4,
            strip_trailing_host_dot: true,
            strip_matching_host_port: true,
            ..HttpConnectionManager::default()
        };
        assert_eq!(
            told(&of_path("/x/../a%2F//b?q//", &manager)),
            [
                (
                    "path_with_escaped_slashes_action",
                    "/x/../a%2F//b?q//",
                    "/x/../a///b?q//"
                ),
                ("normalize_path", "/x/../a///b?q//", "/a///b?q//"),
                ("merge_slashes", "/a///b?q//", "/a/b?q//"),
            ]
        );
        assert_eq!(
            told(&of_host("v.:80", &manager, 80)),
            [
                ("strip_trailing_host_dot", "v.:80", "v:80"),
                ("strip_matching_host_port", "v:80", "v"),
            ]
        );
        assert_eq!(of_host("v:81", &manager, 80), []);
        assert_eq!(of_path("/a", &manager), []);
    }
}
