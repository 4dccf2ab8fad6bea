//! A load generator for HTTP/1.1 that checks every response: its status, the request's id, the
//! backend that answered, the framing, and every byte of the body; and the backend that answers
//! so that this can be checked.
//!
//! Body bytes follow from the request's id, the backend's name and the path ([`pattern`]), so bytes
//! of another response, lost bytes and repeated ones all show.

pub mod backend;
pub mod cli;
pub mod client;
pub mod framing;
pub mod pattern;
pub mod question;
