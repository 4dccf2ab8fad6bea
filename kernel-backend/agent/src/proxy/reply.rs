//! Envoy's local replies.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
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
pub fn reset(reason: &str, transport: Option<&str>) -> String {
    let mut text = format!(
        "upstream connect error or disconnect/reset before headers. reset reason: {reason}"
    );
    if let Some(transport) = transport {
        text.push_str(", transport failure reason: ");
        text.push_str(transport);
    }
    text
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
                .and_then(|status| u16::try_from(status).ok());
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
            Outcome::Overflow => Self::text(503, reset("overflow", None)),
            Outcome::BadRequest => bad_request(status(400), trace),
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

    /// The response. What HTTP does not allow in a header is left out.
    pub fn into_response(self, mut finish: Finish) -> Response<ResponseBody> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        finish.status(status.as_u16());
        let text = !self.body.is_empty();
        let mut response = Response::new(ResponseBody::own(self.body, finish));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if text {
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
        response
    }
}

/// What Envoy's codec refuses it answers with the status in words, and closes; the connection
/// manager says nothing.
fn bad_request(status: u16, trace: &Trace) -> Reply {
    let why = trace.steps.iter().find_map(|step| match step {
        Step::BadRequest(why) => Some(*why),
        _ => None,
    });
    let by_manager = matches!(why, Some(BadRequest::NoHost)) || status == 404;
    if by_manager {
        return Reply::text(status, "");
    }
    let text = StatusCode::from_u16(status).ok();
    let text = text.and_then(|status| status.canonical_reason());
    Reply::text(status, text.unwrap_or("Bad Request")).and_close()
}
