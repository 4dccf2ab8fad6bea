//! The request as routes see it.

use twinmesh_engine::ClientCertificate;
use twinmesh_xds::Profile;

use crate::grpc;

/// Headers of which Envoy keeps one entry each: repeated lines are joined with a comma before any
/// matcher sees them (measured on Envoy 1.40).
const JOINED: [&str; 39] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authentication",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "proxy-status",
    "referer",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-external-address",
    "x-envoy-is-timeout-retry",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// A request whose head was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    pub(crate) method: String,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    /// With its query; empty where the method is CONNECT, which has none.
    pub(crate) path: String,
    /// `x-forwarded-proto` as the connection manager leaves it.
    pub(crate) forwarded_proto: String,
    /// What the connection's client has presented.
    pub(crate) client_certificate: Option<ClientCertificate>,
    /// What the request asks to be upgraded to, CONNECT included: the Connection and Upgrade that ask
    /// for it are kept.
    pub(crate) upgrade: Option<String>,
    /// In wire order: names lower-cased, values without white space around them.
    pub(crate) headers: Vec<(String, String)>,
    /// Whose rules decide what header matchers see.
    pub(crate) profile: Profile,
}

impl Message {
    /// All values of a header or pseudo header, in wire order.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            ":method" => return vec![self.method.clone()],
            ":scheme" => return vec![self.scheme.clone()],
            ":authority" | "host" => return vec![self.authority.clone()],
            ":path" if self.is_connect() => return Vec::new(),
            ":path" => return vec![self.path.clone()],
            "x-forwarded-proto" => return vec![self.forwarded_proto.clone()],
            _ => {}
        }
        let values: Vec<String> = self
            .headers
            .iter()
            .filter(|(header, _)| *header == name)
            .map(|(_, value)| value.clone())
            .collect();
        if values.len() > 1 && is_joined(&name) {
            return vec![join(&values)];
        }
        values
    }

    /// All values of a header or pseudo header as a header matcher sees them.
    pub(crate) fn matched_values(&self, name: &str) -> Vec<String> {
        if self.profile == Profile::Grpc {
            return grpc::values(self, name);
        }
        as_matched(self.values(name), self.profile)
    }

    /// The first value of a header.
    pub(crate) fn first_value(&self, name: &str) -> Option<String> {
        self.values(name).into_iter().next()
    }

    /// The path up to its query.
    pub(crate) fn path_without_query(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// Whether it asks for a tunnel to its authority: it has no path then.
    pub(crate) fn is_connect(&self) -> bool {
        self.method == "CONNECT" && self.profile != Profile::Grpc
    }

    /// Whether Envoy answers it as it answers gRPC: its own replies then have the status 200.
    pub(crate) fn is_grpc(&self) -> bool {
        let content_type = self.first_value("content-type").unwrap_or_default();
        // What has no path is none.
        !self.is_connect()
            && content_type
                .strip_prefix("application/grpc")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
    }

    /// The HTTP status of a reply that Envoy makes itself.
    pub(crate) fn local_reply_status(&self, status: u32) -> u32 {
        if self.is_grpc() { 200 } else { status }
    }
}

/// Whether repeated lines of a header are joined before any matcher sees them. The name is in lower
/// case.
pub(crate) fn is_joined(name: &str) -> bool {
    JOINED.contains(&name)
}

/// The values of a header as a header matcher sees them: by some profiles one, joined by commas.
pub(crate) fn as_matched(values: Vec<String>, profile: Profile) -> Vec<String> {
    if values.len() > 1 && profile.joins_lines() {
        return vec![values.join(",")];
    }
    values
}

/// Repeated lines as the one value that Envoy keeps: empty ones leave no trace.
pub(crate) fn join(values: &[String]) -> String {
    let values: Vec<&str> = values
        .iter()
        .map(String::as_str)
        .filter(|value| !value.is_empty())
        .collect();
    values.join(",")
}

/// Headers of one connection, which the connection manager takes off before a route is chosen
/// (measured on Envoy 1.40); what asks for an upgrade keeps the first and the last.
pub(crate) const OF_A_CONNECTION: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header reaches the routes as the client sent it. The connection manager adds, removes
/// or rewrites the others by rules that are not decided here.
pub(crate) fn arrives_as_sent(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let managed = [
        "connection",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-request-id",
    ];
    !managed.contains(&name.as_str()) && !name.starts_with("x-envoy-")
}

#[cfg(test)]
pub(crate) mod tests {
    use rstest::rstest;
    use twinmesh_engine::Request;

    use super::*;

    /// A plain request for `path`, with the id `r`.
    pub(crate) fn request(path: &str) -> Request {
        Request {
            id: "r".to_owned(),
            authority: Some("h.test".to_owned()),
            path: path.to_owned(),
            ..Request::default()
        }
    }

    /// A message with these headers.
    pub(crate) fn message(headers: &[(&str, &str)]) -> Message {
        Message {
            method: "GET".to_owned(),
            scheme: "http".to_owned(),
            authority: "h.test".to_owned(),
            path: "/p?q=1".to_owned(),
            forwarded_proto: "http".to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Message::default()
        }
    }

    #[rstest]
    #[case("x", &["1", "2"])]
    #[case("X", &["1", "2"])]
    #[case("accept", &["a,b"])]
    #[case("cookie", &["c=1", "c=2"])]
    #[case("missing", &[])]
    #[case("host", &["h.test"])]
    #[case(":authority", &["h.test"])]
    #[case(":path", &["/p?q=1"])]
    #[case(":method", &["GET"])]
    #[case("x-forwarded-proto", &["http"])]
    fn values(#[case] name: &str, #[case] expected: &[&str]) {
        let message = message(&[
            ("x", "1"),
            ("accept", "a"),
            ("cookie", "c=1"),
            ("x", "2"),
            ("accept", "b"),
            ("cookie", "c=2"),
        ]);
        assert_eq!(message.values(name), expected);
    }

    #[rstest]
    #[case("application/grpc", 200)]
    #[case("application/grpc+proto", 200)]
    #[case("application/grpc;x", 404)]
    #[case("application/grpc-web", 404)]
    #[case("Application/grpc", 404)]
    #[case("text/plain", 404)]
    fn local_replies(#[case] content_type: &str, #[case] expected: u32) {
        let message = message(&[("content-type", content_type)]);
        assert_eq!(message.local_reply_status(404), expected);
    }
}
