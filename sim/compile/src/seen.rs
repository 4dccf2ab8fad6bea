//! The request as routes see it: what the model cut out of the head, as text.

use twinmesh_engine::Request;
use twinmesh_model::Span;
use twinmesh_model::layout::{filter_chain, high, input, work};

use twinmesh_xds::Profile;

use crate::Compiled;
use crate::answer::Record;
use crate::connect::is_connect;
use crate::names::is_joined;

/// What redirects, rewrites and local replies are made from.
#[derive(Debug, Default)]
pub struct Seen {
    /// `:authority`, as the connection manager leaves it.
    pub authority: String,
    /// `:path`, with its query; empty where the request has none.
    pub path: String,
    /// It is a CONNECT request, which has no path.
    pub(crate) connect: bool,
    /// `:scheme`.
    pub scheme: String,
    /// `x-forwarded-proto`, or the connection's scheme.
    pub forwarded_proto: String,
    pub(crate) grpc: bool,
    /// Headers with underscores are taken away.
    pub(crate) drops_underscores: bool,
    /// Header matchers see the lines of a repeated header as one, joined by commas.
    pub(crate) joins_lines: bool,
}

impl Compiled {
    /// Whether the connection manager takes away headers with underscores.
    pub(crate) fn drops_underscores(&self, record: &Record<'_>) -> bool {
        let chain = record.word(work::CHOSEN_FILTER_CHAIN);
        let kind = filter_chain::KIND;
        chain != 0 && high(self.policy_word(chain + kind)) & filter_chain::DROP_UNDERSCORES != 0
    }

    /// Reads the spans that the model left.
    pub(crate) fn seen(&self, request: &Request, record: &Record<'_>) -> Seen {
        if record.word(work::CHOSEN_ROUTE_CONFIGURATION) == 0 {
            return Seen::default();
        }
        let head = request.head();
        let text = |word: u64| text(&head, Span(record.word(word)));
        let connection = if request.is_tls() { "https" } else { "http" };
        // At the edge the client does not say the scheme.
        let is_edge = self.manager_of(record).is_some_and(|manager| {
            let own = manager.use_remote_address.as_ref();
            own.is_some_and(|own| own.value) && manager.xff_num_trusted_hops == 0
        });
        let connect = is_connect(request) && self.snapshot.profile != Profile::Grpc;
        let forwarded = joined(request, "x-forwarded-proto").filter(|_| !is_edge);
        Seen {
            authority: text(work::HOST),
            path: match connect {
                true => String::new(),
                false => text(work::TARGET),
            },
            connect,
            scheme: text(work::SCHEME),
            forwarded_proto: forwarded.unwrap_or_else(|| connection.to_owned()),
            grpc: is_grpc(request) && !connect,
            drops_underscores: self.drops_underscores(record),
            joins_lines: self.snapshot.profile.joins_lines(),
        }
    }
}

/// A stretch of the input as text.
pub(crate) fn text(head: &[u8], span: Span) -> String {
    match span.offset() {
        input::SLASH => "/".to_owned(),
        input::HTTP => "http".to_owned(),
        input::HTTPS => "https".to_owned(),
        offset => {
            let from = offset.saturating_sub(input::HEAD) as usize;
            let bytes = head
                .get(from..from + span.length() as usize)
                .unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}

/// The values of a header, each line apart.
pub(crate) fn values<'r>(request: &'r Request, name: &str) -> Vec<&'r str> {
    let named = request
        .headers
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named
        .map(|(_, value)| value.trim_matches([' ', '\t']))
        .collect()
}

/// The value of a header of which Envoy keeps one line: values are joined, and empty ones leave no
/// trace.
pub(crate) fn joined(request: &Request, name: &str) -> Option<String> {
    let mut values = values(request, name);
    if values.is_empty() {
        return None;
    }
    values.retain(|value| !value.is_empty());
    Some(values.join(","))
}

/// Whether Envoy answers the request as it answers gRPC.
pub(crate) fn is_grpc(request: &Request) -> bool {
    let content_type = joined(request, "content-type").unwrap_or_default();
    let rest = content_type.strip_prefix("application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

impl Seen {
    /// The HTTP status of a reply that Envoy makes itself: gRPC has its own inside a 200.
    pub fn status(&self, status: u32) -> u32 {
        if self.grpc { 200 } else { status }
    }

    /// The values of a header that is none of the pseudo headers, as the connection manager leaves it.
    pub(crate) fn values<'r>(&self, request: &'r Request, name: &str) -> Vec<&'r str> {
        match self.drops_underscores && name.contains('_') {
            true => Vec::new(),
            false => values(request, name),
        }
    }

    /// The first value of a header or pseudo header.
    pub fn first_value(&self, request: &Request, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        Some(match name.as_str() {
            ":method" => request.method.clone(),
            ":scheme" => self.scheme.clone(),
            ":authority" | "host" => self.authority.clone(),
            ":path" if self.connect => return None,
            ":path" => self.path.clone(),
            "x-forwarded-proto" => self.forwarded_proto.clone(),
            _ if is_joined(&name) => joined(request, &name)?,
            _ => self.values(request, &name).first()?.to_string(),
        })
    }
}
