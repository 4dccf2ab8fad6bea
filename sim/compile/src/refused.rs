//! Why a head is refused, by what the model says of it.

use twinmesh_engine::BadRequest;
use twinmesh_model::layout::bad_request;

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
