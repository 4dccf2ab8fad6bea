//! Why a head is refused, by what the model says of it.

use std::collections::BTreeSet;

use twinmesh_engine::{BadRequest, Request};
use twinmesh_model::layout::bad_request;

use crate::names::is_joined;

/// Why it is not decided that a head is refused for this reason, though the model says so.
pub(crate) fn not_refused(request: &Request, reason: u64) -> Option<&'static str> {
    if reason == bad_request::TOO_LARGE && joins_lines(request) {
        return Some("Envoy joins lines before it counts headers, which is not decided");
    }
    let of_headers = [
        bad_request::HEADER_NAME,
        bad_request::HEADER_VALUE,
        bad_request::CONTENT_LENGTH,
        bad_request::TRANSFER_ENCODING,
        bad_request::TOO_LARGE,
    ];
    // Envoy's codec looks at the target before it looks at headers.
    let target = request.path.trim_matches([' ', '\t']).to_ascii_lowercase();
    let mut forms = ["/", "*", "http://", "https://"].into_iter();
    let is_known = forms.any(|form| target.starts_with(form));
    (of_headers.contains(&reason) && !is_known)
        .then_some("the form of the request's target is not decided")
}

/// Whether Envoy keeps one entry of some header that comes in several lines.
fn joins_lines(request: &Request) -> bool {
    let mut seen = BTreeSet::new();
    let mut keys = request
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase());
    keys.any(|key| match key.as_str() {
        "host" => request.authority.is_some(),
        name => (is_joined(name) || name == "transfer-encoding") && !seen.insert(key.clone()),
    })
}

/// The reason of this number.
pub(crate) fn bad_request_of(code: u64) -> BadRequest {
    match code {
        bad_request::HEADER_NAME => BadRequest::HeaderName,
        bad_request::HEADER_VALUE => BadRequest::HeaderValue,
        bad_request::NO_HOST => BadRequest::NoHost,
        bad_request::INVALID_HOST => BadRequest::InvalidHost,
        bad_request::CONTENT_LENGTH => BadRequest::ContentLength,
        bad_request::LENGTH_AND_ENCODING | bad_request::TRANSFER_ENCODING => {
            BadRequest::TransferEncoding
        }
        bad_request::TARGET | bad_request::NOT_A_PATH | bad_request::FRAGMENT => BadRequest::Target,
        bad_request::TOO_LARGE => BadRequest::TooLarge,
        bad_request::SCHEME => BadRequest::Scheme,
        _ => BadRequest::RequestLine,
    }
}
