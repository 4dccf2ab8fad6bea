//! A call of gRPC's client, laid out for the model as a head that says the same.

use twinmesh_engine::{Answer, Outcome, Request, Step, Trace};
use twinmesh_xds::Profile;

use crate::{Compiled, Managed};

/// A head of more bytes is no call here.
const HEAD_BYTES: usize = 8192;
/// What no call has as metadata.
const NO_METADATA: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// An authority that the model refuses: nothing is chosen.
const REFUSED: &str = "\"";

/// A request by gRPC's rules.
#[derive(Debug, Clone)]
pub struct Called {
    /// What the model is to decide.
    pub managed: Managed,
    /// Why that says nothing of the request.
    refused: Option<&'static str>,
}

impl Compiled {
    /// The request as a call, where gRPC's rules decide.
    pub fn called(&self, came: &Request) -> Option<Called> {
        if self.snapshot.profile != Profile::Grpc {
            return None;
        }
        let (laid, refused) = match call(came) {
            Ok(laid) => (laid, None),
            Err(reason) => {
                let laid = Request {
                    authority: Some(REFUSED.to_owned()),
                    path: "/".to_owned(),
                    headers: Vec::new(),
                    method: "POST".to_owned(),
                    ..came.clone()
                };
                (laid, Some(reason))
            }
        };
        // Both heads start alike, by which the model's answer is read.
        let request = Request {
            method: laid.method.clone(),
            ..came.clone()
        };
        let managed = Managed::laid_out(&request, laid);
        Some(Called { managed, refused })
    }
}

impl Called {
    /// What becomes of the model's answer: a call that fails has no status, and what is no call is
    /// not decided.
    pub fn finish(&self, answer: &mut Answer) {
        let decision = &mut answer.decision;
        decision.status = None;
        if let Some(reason) = self.refused
            && decision.outcome == Outcome::BadRequest
        {
            decision.outcome = Outcome::Unsupported;
            decision.reason = Some(reason.to_owned());
            decision.route_config = None;
            if !answer.trace.steps.is_empty() {
                answer.trace = Trace {
                    steps: vec![Step::Unsupported],
                };
            }
        }
    }
}

/// The head of a call: each header once, its lines joined by commas.
fn call(came: &Request) -> Result<Request, &'static str> {
    let authority = came.authority.as_deref().unwrap_or_default();
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if authority.is_empty() || !authority.bytes().all(in_name) {
        return Err("gRPC's calls are decided by a name without a port");
    }
    let path = came.path.as_str();
    let is_path = path.starts_with('/')
        && path.bytes().all(|it| it.is_ascii_graphic())
        && !path.contains(['?', '#']);
    if !is_path {
        return Err("a gRPC call's path is a service and a method");
    }
    if came.head().len() > HEAD_BYTES {
        return Err("a gRPC call with so much metadata is not decided");
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &came.headers {
        let name = name.to_ascii_lowercase();
        let value = value.trim_matches(' ');
        let is_metadata = !name.is_empty()
            && name.bytes().all(in_name)
            && !NO_METADATA.contains(&name.as_str())
            && value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_metadata {
            return Err("a gRPC call has no such metadata");
        }
        // No matcher of a route that is decided looks at it, and the model would.
        if name == "x-forwarded-proto" {
            continue;
        }
        match headers.iter_mut().find(|(other, _)| *other == name) {
            Some((_, lines)) => {
                lines.push(',');
                lines.push_str(value);
            }
            None => headers.push((name, value.to_owned())),
        }
    }
    Ok(Request {
        method: "POST".to_owned(),
        headers,
        ..came.clone()
    })
}
