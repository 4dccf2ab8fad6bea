//! The request as routes see it: what the model cut out of the head, as text.

use twinmesh_engine::{Decision, Request};
use twinmesh_model::Span;
use twinmesh_model::layout::{input, work};

use crate::Compiled;
use crate::answer::Record;

/// What redirects, rewrites and local replies are made from.
#[derive(Debug, Default)]
pub struct Seen {
    /// `:authority`, as the connection manager leaves it.
    pub authority: String,
    /// `:path`, with its query.
    pub path: String,
    /// `:scheme`.
    pub scheme: String,
    /// `x-forwarded-proto`, or the connection's.
    pub forwarded_proto: String,
    pub(crate) grpc: bool,
}

impl Compiled {
    /// Reads the spans that the model left.
    pub(crate) fn seen(&self, request: &Request, record: &Record<'_>) -> Seen {
        if record.word(work::CHOSEN_ROUTE_CONFIGURATION) == 0 {
            return Seen::default();
        }
        let head = request.head();
        let text = |word: u64| {
            let span = Span(word);
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
        };
        let values = |name: &str| -> Vec<&str> {
            let named = request
                .headers
                .iter()
                .filter(|(other, _)| other.eq_ignore_ascii_case(name));
            named
                .map(|(_, value)| value.trim_matches([' ', '\t']))
                .collect()
        };
        let connection = if request.is_tls() { "https" } else { "http" };
        let forwarded = values("x-forwarded-proto");
        let content_type = values("content-type").join(",");
        let grpc = content_type.strip_prefix("application/grpc");
        Seen {
            authority: text(record.word(work::HOST)),
            path: text(record.word(work::TARGET)),
            scheme: text(record.word(work::SCHEME)),
            forwarded_proto: if forwarded.is_empty() {
                connection.to_owned()
            } else {
                forwarded.join(",")
            },
            grpc: grpc.is_some_and(|rest| rest.is_empty() || rest.starts_with('+')),
        }
    }
}

impl Seen {
    /// The HTTP status of a reply that Envoy makes itself: gRPC has its own inside a 200.
    pub fn status(&self, status: u32) -> u32 {
        if self.grpc { 200 } else { status }
    }

    /// The first value of a header or pseudo header.
    pub fn first_value(&self, request: &Request, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        Some(match name.as_str() {
            ":method" => request.method.clone(),
            ":scheme" => self.scheme.clone(),
            ":authority" | "host" => self.authority.clone(),
            ":path" => self.path.clone(),
            "x-forwarded-proto" => self.forwarded_proto.clone(),
            _ => {
                let mut headers = request.headers.iter();
                let (_, value) = headers.find(|(other, _)| other.eq_ignore_ascii_case(&name))?;
                value.trim_matches([' ', '\t']).to_owned()
            }
        })
    }

    /// Notes what goes upstream otherwise than it came.
    pub fn rewritten(&self, request: &Request, decision: &mut Decision) {
        if request.path != self.path {
            decision.path = Some(self.path.clone());
        }
        if request.authority.as_deref() != Some(&self.authority) {
            decision.authority = Some(self.authority.clone());
        }
    }
}
