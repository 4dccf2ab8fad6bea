//! The headers of a message, by name: of each its values, or that they are not known.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::extensions::filters::{
    http::router::v3::Router,
    network::http_connection_manager::v3::{HttpConnectionManager, http_filter::ConfigType},
};
use prost::Message;
use twinmesh_engine::Request;
use twinmesh_xds::header_filters;

use crate::matcher::arrives_as_sent;
use crate::names;
use crate::seen::Seen;

/// Headers of responses that Envoy keeps as one line (measured on 1.40).
const ONE_LINE_OF_RESPONSES: &[&str] = &[
    "age",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "keep-alive",
    "last-modified",
    "location",
    "proxy-status",
    "vary",
    "via",
    "x-request-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
];
const ACCESS_CONTROL: &[&str] = &[
    "allow-credentials",
    "allow-headers",
    "allow-methods",
    "allow-origin",
    "allow-private-network",
    "expose-headers",
    "max-age",
];

/// Whose headers they are: it says which of them Envoy writes itself.
#[derive(Debug, Clone, Copy)]
enum Side {
    Request {
        user_agent: bool,
        tracing: bool,
    },
    Response {
        is_local: bool,
        /// Envoy may say where else to go.
        may_move: bool,
        cors: bool,
    },
}

/// The headers of a message.
#[derive(Debug, Clone)]
pub struct Entries {
    side: Side,
    /// Filters may have changed any of them.
    is_open: bool,
    /// Lines by name; `None`: not known.
    known: BTreeMap<String, Option<Vec<String>>>,
    /// The router writes `x-envoy-original-` headers where it rewrites.
    keeps_originals: bool,
    /// The scheme that formats say is one that the cluster chooses
    /// (`SchemeHeaderTransformation.match_upstream`).
    scheme_of_cluster: bool,
}

/// Whether the router has `suppress_envoy_headers`.
fn is_quiet(manager: &HttpConnectionManager) -> bool {
    let Some(last) = manager.http_filters.last() else {
        return false;
    };
    let Some(ConfigType::TypedConfig(any)) = &last.config_type else {
        return false;
    };
    let router = Router::decode(any.value.as_slice());
    router.is_ok_and(|router| router.suppress_envoy_headers)
}

impl Entries {
    /// A request as the connection manager leaves it. `drops_underscores` says whether headers with
    /// underscores are taken away.
    pub fn of_request(
        request: &Request,
        seen: &Seen,
        manager: &HttpConnectionManager,
        drops_underscores: bool,
    ) -> Self {
        let mut entries = Self {
            side: Side::Request {
                user_agent: manager.add_user_agent.is_some_and(|it| it.value),
                tracing: manager.tracing.is_some(),
            },
            is_open: header_filters(manager).change_any,
            known: BTreeMap::new(),
            keeps_originals: true,
            scheme_of_cluster: false,
        };
        for (name, value) in &request.headers {
            // On the wire a name ends at its first colon.
            let line = format!("{name}: {value}");
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let name = name.to_ascii_lowercase();
            let is_dropped = drops_underscores && name.contains('_');
            if name != "x-forwarded-proto" && !is_dropped && !entries.is_written(&name) {
                entries.push(&name, value.trim_matches([' ', '\t']).to_owned());
            }
        }
        if manager.use_remote_address.is_some_and(|own| own.value) {
            // They stay where the client is inside.
            for name in ["x-envoy-original-host", "x-envoy-original-path"] {
                if entries.known.contains_key(name) {
                    entries.forget(name);
                }
            }
        }
        entries.keeps_originals = !is_quiet(manager);
        if let Some(scheme) = &manager.scheme_header_transformation {
            entries.scheme_of_cluster = scheme.match_upstream;
        }
        entries.write_pseudo(&request.method, seen);
        if !entries.is_open {
            entries.write("x-forwarded-proto", seen.forwarded_proto.clone());
        }
        entries
    }

    /// The pseudo headers of a request, of which nothing else is asked.
    pub fn of_seen(method: &str, seen: &Seen) -> Self {
        let mut entries = Self {
            side: Side::Request {
                user_agent: true,
                tracing: true,
            },
            is_open: true,
            known: BTreeMap::new(),
            keeps_originals: true,
            scheme_of_cluster: false,
        };
        entries.write_pseudo(method, seen);
        entries
    }

    fn write_pseudo(&mut self, method: &str, seen: &Seen) {
        for (name, value) in [
            (":method", method.trim_matches([' ', '\t'])),
            (":scheme", &seen.scheme),
            (":authority", &seen.authority),
            (":path", &seen.path),
        ] {
            if name != ":path" || !seen.connect {
                self.write(name, value.to_owned());
            }
        }
    }

    /// A response that nothing is known of but its status: an endpoint's, or one of Envoy's own.
    pub fn of_response(status: u32, is_local: bool, manager: &HttpConnectionManager) -> Self {
        let filters = header_filters(manager);
        let mut entries = Self {
            side: Side::Response {
                is_local,
                may_move: is_local && matches!(status, 201 | 300..=399),
                cors: filters.cors,
            },
            is_open: filters.change_any,
            known: BTreeMap::new(),
            keeps_originals: true,
            scheme_of_cluster: false,
        };
        entries.write(":status", status.to_string());
        entries
    }

    /// Whether Envoy may write a header itself.
    fn is_written(&self, name: &str) -> bool {
        if name.is_empty() || name.starts_with(':') {
            return false;
        }
        if self.is_open {
            return true;
        }
        match self.side {
            Side::Request {
                user_agent,
                tracing,
            } => match name {
                "x-envoy-original-path" | "x-envoy-original-host" => false,
                "content-length" => true,
                "user-agent" => user_agent,
                "traceparent" | "tracestate" | "b3" => tracing,
                _ if name.starts_with("x-b3-") => tracing,
                _ => !arrives_as_sent(name),
            },
            Side::Response {
                is_local,
                may_move,
                cors,
            } => match name {
                "content-type" => is_local,
                "location" => may_move,
                "connection" | "content-length" | "date" | "grpc-message" | "grpc-status"
                | "keep-alive" | "proxy-connection" | "proxy-status" | "server"
                | "transfer-encoding" | "upgrade" | "via" | "x-request-id" => true,
                _ if name.starts_with("access-control-") => cors,
                _ => name.starts_with("x-envoy-"),
            },
        }
    }

    /// Whether Envoy may write a header of a response once all mutations are done: the connection manager
    /// does, the codec, and filters that the response passes last.
    fn is_written_last(&self, name: &str) -> bool {
        let Side::Response { is_local, cors, .. } = self.side else {
            return false;
        };
        match name {
            "content-type" => is_local || self.is_open,
            "connection"
            | "content-length"
            | "date"
            | "grpc-message"
            | "grpc-status"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-status"
            | "server"
            | "transfer-encoding"
            | "upgrade"
            | "via"
            | "x-envoy-attempt-count"
            | "x-request-id" => true,
            _ => name.starts_with("access-control-") && (cors || self.is_open),
        }
    }

    /// The values of a header, whose name is in lower case; `None`: they are not known.
    pub fn values(&self, name: &str) -> Option<Vec<String>> {
        let name = if name == "host" { ":authority" } else { name };
        if self.is_written_last(name) {
            return None;
        }
        let Some(lines) = self.known.get(name) else {
            return (!self.is_written(name)).then(Vec::new);
        };
        let lines = lines.as_ref()?;
        let one_line = match self.side {
            Side::Request { .. } => names::is_joined(name) || name == "content-length",
            Side::Response { .. } => {
                ONE_LINE_OF_RESPONSES.contains(&name)
                    || name
                        .strip_prefix("access-control-")
                        .is_some_and(|rest| ACCESS_CONTROL.contains(&rest))
            }
        };
        if lines.len() < 2 || !one_line {
            return Some(lines.clone());
        }
        let filled = lines.iter().filter(|line| !line.is_empty());
        let filled: Vec<&str> = filled.map(String::as_str).collect();
        Some(vec![filled.join(",")])
    }

    /// The first value of a header, as [`Self::values`].
    pub fn first(&self, name: &str) -> Option<Option<String>> {
        let values = self.values(&name.to_ascii_lowercase())?;
        Some(values.into_iter().next())
    }

    /// As [`Self::first`], of what a format names.
    pub fn said(&self, name: &str) -> Option<Option<String>> {
        let is_open = self.scheme_of_cluster && name.eq_ignore_ascii_case(":scheme");
        if is_open { None } else { self.first(name) }
    }

    /// A pseudo header's value, which is always known.
    pub fn pseudo(&self, name: &str) -> String {
        self.first(name).flatten().unwrap_or_default()
    }

    /// Adds a line. Beside what is not known it leaves that so.
    pub fn push(&mut self, name: &str, value: String) {
        if !self.known.contains_key(name) && self.is_written(name) {
            return;
        }
        let lines = self.known.entry(name.to_owned());
        if let Some(lines) = lines.or_insert_with(|| Some(Vec::new())) {
            lines.push(value);
        }
    }

    /// Puts one line in the place of all.
    pub fn write(&mut self, name: &str, value: String) {
        self.known.insert(name.to_owned(), Some(vec![value]));
    }

    /// Puts what a rewrite replaces into one of the `x-envoy-original-` headers.
    pub fn keep_original(&mut self, name: &str, value: String) {
        if self.keeps_originals {
            self.write(name, value);
        }
    }

    /// Takes all lines away.
    pub fn clear(&mut self, name: &str) {
        self.known.insert(name.to_owned(), Some(Vec::new()));
    }

    /// From here on the values are not known.
    pub fn forget(&mut self, name: &str) {
        self.known.insert(name.to_owned(), None);
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::SchemeHeaderTransformation;
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
    use envoy_types::pb::google::protobuf::{Any, BoolValue};

    use super::*;

    const PATH: &str = "x-envoy-original-path";

    fn entries(manager: &HttpConnectionManager) -> Entries {
        let request = Request {
            headers: vec![("X-Envoy-Original-Path".to_owned(), "/q".to_owned())],
            ..Request::default()
        };
        Entries::of_request(&request, &Seen::default(), manager, false)
    }

    fn path(entries: &Entries) -> Option<Vec<String>> {
        entries.values(PATH)
    }

    #[test]
    fn the_original_path_goes_by_the_edge_and_the_router() {
        let mut manager = HttpConnectionManager::default();
        let mut plain = entries(&manager);
        assert_eq!(path(&plain), Some(vec!["/q".to_owned()]));
        plain.keep_original(PATH, "/a".to_owned());
        assert_eq!(path(&plain), Some(vec!["/a".to_owned()]));

        manager.use_remote_address = Some(BoolValue { value: true });
        let mut edge = entries(&manager);
        assert_eq!(path(&edge), None);
        assert_eq!(edge.values("x-envoy-original-host"), Some(Vec::new()));
        edge.keep_original(PATH, "/a".to_owned());
        assert_eq!(path(&edge), Some(vec!["/a".to_owned()]));

        let router = Router {
            suppress_envoy_headers: true,
            ..Router::default()
        };
        let manager = HttpConnectionManager {
            http_filters: vec![HttpFilter {
                config_type: Some(ConfigType::TypedConfig(Any {
                    type_url: "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                        .to_owned(),
                    value: router.encode_to_vec(),
                })),
                ..HttpFilter::default()
            }],
            ..HttpConnectionManager::default()
        };
        let mut quiet = entries(&manager);
        quiet.keep_original(PATH, "/a".to_owned());
        assert_eq!(path(&quiet), Some(vec!["/q".to_owned()]));
    }

    #[test]
    fn formats_do_not_say_a_scheme_that_the_cluster_chooses() {
        let mut manager = HttpConnectionManager::default();
        assert!(entries(&manager).said(":scheme").is_some());
        manager.scheme_header_transformation = Some(SchemeHeaderTransformation {
            match_upstream: true,
            ..SchemeHeaderTransformation::default()
        });
        assert_eq!(entries(&manager).said(":Scheme"), None);
    }
}
