//! The end of a request: its share in the active count goes back, it is counted and logged, once.

use std::sync::Arc;
use std::time::Instant;

use super::Shared;
use super::io::Mark;
use crate::access_log::Record;
use crate::live::Hold;

/// What is to be done when a request ends. Dropped without [`Finish::complete`] or
/// [`Finish::failed`], the client is gone.
pub struct Finish {
    shared: Arc<Shared>,
    record: Option<Box<Record>>,
    hold: Option<Hold>,
    mark: Option<Arc<Mark>>,
    started: Instant,
    grpc: bool,
}

impl Finish {
    /// A request starts.
    pub fn new(shared: Arc<Shared>, record: Record, mark: Option<Arc<Mark>>) -> Self {
        Self {
            shared,
            record: Some(Box::new(record)),
            hold: None,
            mark,
            started: Instant::now(),
            grpc: false,
        }
    }

    /// The request holds an endpoint.
    pub fn hold(&mut self, hold: Option<Hold>) {
        self.hold = hold;
    }

    /// The request is gRPC's: local replies have to be, too.
    pub fn set_grpc(&mut self, grpc: bool) {
        self.grpc = grpc;
    }

    /// Whether the request is gRPC's.
    pub fn is_grpc(&self) -> bool {
        self.grpc
    }

    /// The response's status.
    pub fn status(&mut self, status: u16) {
        if let Some(record) = &mut self.record {
            record.status = Some(status);
        }
    }

    /// Why it went otherwise than decided.
    pub fn reason(&mut self, reason: impl Into<String>) {
        if let Some(record) = &mut self.record {
            record.reason = Some(reason.into());
        }
    }

    /// Bytes of the request's body so far.
    pub fn request_bytes(&mut self, bytes: u64) {
        if let Some(record) = &mut self.record {
            record.request_bytes = bytes;
        }
    }

    /// More bytes of the response's body.
    pub fn response_bytes(&mut self, bytes: u64) {
        if let Some(record) = &mut self.record {
            record.response_bytes += bytes;
        }
    }

    /// The response is whole.
    pub fn complete(mut self) {
        if let Some(mark) = &self.mark {
            mark.end();
        }
        self.end(None);
    }

    /// It broke off.
    pub fn failed(mut self, reason: impl Into<String>) {
        self.end(Some(reason.into()));
    }

    fn end(&mut self, reason: Option<String>) {
        self.hold = None;
        if let Some(mut record) = self.record.take() {
            record.duration = self.started.elapsed();
            if let Some(reason) = reason {
                record.complete = false;
                record.reason = Some(reason);
            }
            self.shared.metrics.observe(&record);
            self.shared.access_log.write(record);
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if self.record.is_some() {
            self.end(Some("the client is gone".to_owned()));
        }
    }
}
