//! Envoy's local replies.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use twinmesh_engine::{BadRequest, Decision, Outcome, Step, Trace};

use super::body::ResponseBody;
use super::finish::Finish;
use crate::plan::RouteAnswer;

/// A reply of the proxy's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body; text where it is not empty.
    pub body: Bytes,
    /// `Location`.
    pub location: Option<String>,
    /// The connection ends with it.
    pub close: bool,
}

/// What Envoy says where an endpoint could not be reached or broke off.
pub fn reset(reason: &str) -> String {
    format!("upstream connect error or disconnect/reset before headers. reset reason: {reason}")
}

impl Reply {
    /// A reply with a text, which may be empty.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            body: Bytes::from(text.into()),
            location: None,
            close: false,
        }
    }

    /// The same, and the connection ends with it.
    pub fn and_close(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    /// The reply to a request that is not forwarded.
    pub fn to_decision(decision: &Decision, trace: &Trace, answer: Option<&RouteAnswer>) -> Self {
        let status = |default: u16| {
            let status = decision
                .status
                .and_then(|status| u16::try_from(status).ok())
                // A gRPC request's 200 says nothing of what the reply is about.
                .filter(|status| *status != 200 || decision.outcome == Outcome::DirectResponse);
            status.unwrap_or(default)
        };
        match decision.outcome {
            Outcome::Redirect => Self {
                location: decision.location.clone(),
                ..Self::text(status(301), "")
            },
            Outcome::DirectResponse => match answer {
                Some(RouteAnswer::Direct(body)) => Self {
                    body: body.clone(),
                    ..Self::text(status(200), "")
                },
                _ => Self::text(503, "the body of the direct response is missing"),
            },
            Outcome::NoVirtualHost | Outcome::NoRoute => Self::text(status(404), ""),
            Outcome::NoCluster => Self::text(status(503), ""),
            Outcome::NoHealthyUpstream => Self::text(status(503), "no healthy upstream"),
            Outcome::Overflow => Self::text(503, reset("overflow")),
            Outcome::BadRequest => {
                let by_manager = decision.route_config.is_some();
                bad_request(status(400), trace, by_manager)
            }
            Outcome::NoListener | Outcome::NoFilterChain => {
                Self::text(503, "no listener takes this connection any more").and_close()
            }
            Outcome::Unsupported | Outcome::Forward => Self::text(
                503,
                format!(
                    "not decided: {}",
                    decision.reason.as_deref().unwrap_or("no reason is known")
                ),
            ),
        }
    }

    /// Status, headers and body. What HTTP does not allow in a header is left out.
    fn into_parts(self, grpc: bool) -> (StatusCode, HeaderMap, Bytes) {
        let status = if grpc { 200 } else { self.status };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        let body = if grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", grpc_status(self.status).into());
            let message = percent_encoded(&self.body);
            if let (false, Ok(message)) = (message.is_empty(), HeaderValue::try_from(message)) {
                headers.insert("grpc-message", message);
            }
            Bytes::new()
        } else {
            self.body
        };
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        if let Some(location) = self.location
            && let Ok(value) = HeaderValue::try_from(location)
        {
            headers.insert(LOCATION, value);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        (status, headers, body)
    }

    /// The response.
    pub fn into_response(self, mut finish: Finish) -> Response<ResponseBody> {
        let (status, headers, body) = self.into_parts(finish.is_grpc());
        finish.status(status.as_u16());
        let mut response = Response::new(ResponseBody::own(body, finish));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// The status that the client sees, and the bytes of the response, as the proxy's connection
    /// would write them; without the body where the request is a HEAD.
    pub fn into_bytes(self, grpc: bool, head_request: bool) -> (u16, Vec<u8>) {
        let (status, headers, body) = self.into_parts(grpc);
        let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in &headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let date = httpdate::fmt_http_date(SystemTime::now());
        let rest = format!("content-length: {}\r\ndate: {date}\r\n\r\n", body.len());
        bytes.extend_from_slice(rest.as_bytes());
        if !head_request {
            bytes.extend_from_slice(&body);
        }
        (status.as_u16(), bytes)
    }
}

/// Whether a `Content-Type` says that a request is gRPC's, as Envoy sees it.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// gRPC's status for an HTTP status, as gRPC's own table has it.
fn grpc_status(status: u16) -> u16 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// A text as `grpc-message` carries it.
fn percent_encoded(text: &[u8]) -> String {
    text.iter().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            plain => encoded.push(char::from(*plain)),
        }
        encoded
    })
}

/// What Envoy's codec refuses it answers with the status in words; the connection manager says
/// nothing. Both end the connection, but for a target that is no path.
fn bad_request(status: u16, trace: &Trace, by_manager: bool) -> Reply {
    let no_host = trace.steps.contains(&Step::BadRequest(BadRequest::NoHost));
    if status == 404 {
        return Reply::text(status, "");
    }
    if by_manager || no_host {
        return Reply::text(status, "").and_close();
    }
    let text = StatusCode::from_u16(status).ok();
    let text = text.and_then(|status| status.canonical_reason());
    Reply::text(status, text.unwrap_or("Bad Request")).and_close()
}
