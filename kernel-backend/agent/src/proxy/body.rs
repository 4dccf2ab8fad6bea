//! Bodies both ways: streamed, counted, timed, and at their end the request is over.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::finish::Finish;
use super::upstream::Upstream;
use super::watch::{Expired, Watch};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection that it came from broke.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// A timer ran out.
    #[error("{0}")]
    Expired(&'static str),
}

/// What is known of a request's body from outside.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes that came from the client.
    pub bytes: AtomicU64,
    /// The last one came.
    pub ended: AtomicBool,
    /// It broke off: the client is gone.
    pub broken: AtomicBool,
}

/// A request's body on its way to the endpoint.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// As it comes from the client.
    Stream(Incoming, Arc<Progress>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Stream(incoming, progress) = &mut *self else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    progress.bytes.fetch_add(data.len() as u64, Relaxed);
                }
                if frame.is_trailers() || incoming.is_end_stream() {
                    progress.ended.store(true, Relaxed);
                }
            }
            Poll::Ready(Some(Err(_))) => progress.broken.store(true, Relaxed),
            Poll::Ready(None) => progress.ended.store(true, Relaxed),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(incoming, _) => incoming.size_hint(),
        }
    }
}

/// A response's body on its way to the client.
pub struct ResponseBody {
    content: Content,
    finish: Option<Finish>,
}

enum Content {
    Own(Option<Bytes>),
    Endpoint(Box<EndpointBody>),
}

/// A body as it comes from an endpoint, with the connection that it comes on.
pub struct EndpointBody {
    pub(super) incoming: Incoming,
    pub(super) upstream: Option<Upstream>,
    pub(super) watch: Watch,
    pub(super) progress: Option<Arc<Progress>>,
    /// It broke off, and that is not told yet.
    pub(super) broken: Option<BodyError>,
}

impl ResponseBody {
    /// A body of the proxy's own.
    pub fn own(bytes: Bytes, finish: Finish) -> Self {
        Self {
            content: Content::Own(Some(bytes).filter(|bytes| !bytes.is_empty())),
            finish: Some(finish),
        }
    }

    /// A body of the proxy's own with which nothing ends.
    pub(super) fn own_unfinished(bytes: Bytes) -> Self {
        Self {
            content: Content::Own(Some(bytes).filter(|bytes| !bytes.is_empty())),
            finish: None,
        }
    }

    /// An endpoint's.
    pub fn endpoint(body: EndpointBody, finish: Finish) -> Self {
        Self {
            content: Content::Endpoint(Box::new(body)),
            finish: Some(finish),
        }
    }

    fn over(&mut self) {
        if let Some(mut finish) = self.finish.take() {
            if let Content::Endpoint(body) = &mut self.content {
                if let Some(progress) = &body.progress {
                    finish.request_bytes(progress.bytes.load(Relaxed));
                }
                if let Some(upstream) = body.upstream.take() {
                    upstream.done();
                }
            }
            finish.complete();
        }
    }

    fn broken(&mut self, error: &BodyError) {
        if let Some(mut finish) = self.finish.take() {
            if let Content::Endpoint(body) = &mut self.content {
                if let Some(progress) = &body.progress {
                    finish.request_bytes(progress.bytes.load(Relaxed));
                }
                body.upstream = None;
            }
            finish.failed(format!("the response broke off: {error}"));
        }
    }
}

impl EndpointBody {
    /// An error is told one turn late: until then hyper writes what it has, and the client gets
    /// what there was of the response.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match self.poll_now(cx) {
            Poll::Ready(Some(Err(error))) => {
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn poll_now(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                // The connection moves only when it is polled.
                if let Some(upstream) = &mut self.upstream {
                    upstream.drive(cx);
                }
                Pin::new(&mut self.incoming).poll_frame(cx)
            }
            ready => ready,
        };
        if let Poll::Ready(frame) = polled {
            self.watch.active();
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        if let Some(progress) = &self.progress
            && progress.ended.load(Relaxed)
        {
            self.watch.request_ended();
        }
        match self.watch.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Expired::Timeout) => {
                Poll::Ready(Some(Err(BodyError::Expired("the route's timeout ran out"))))
            }
            Poll::Ready(Expired::Idle) => Poll::Ready(Some(Err(BodyError::Expired(
                "the stream's idle timeout ran out",
            )))),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.content {
            Content::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Endpoint(body) => body.poll(cx),
        };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(finish)) = (frame.data_ref(), &mut self.finish) {
                    finish.response_bytes(data.len() as u64);
                }
                // Nobody asks for more after trailers, or after as many bytes as were announced.
                if frame.is_trailers() || self.is_end_stream() {
                    self.over();
                }
            }
            Poll::Ready(Some(Err(error))) => self.broken(error),
            Poll::Ready(None) => self.over(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(bytes) => bytes.is_none(),
            Content::Endpoint(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Endpoint(body) => body.incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body without bytes is never polled; the proxy's own is dropped unread after HEAD.
        if self.is_end_stream() || matches!(self.content, Content::Own(_)) {
            self.over();
        } else if let Some(mut finish) = self.finish.take() {
            if let Content::Endpoint(body) = &self.content
                && let Some(progress) = &body.progress
            {
                finish.request_bytes(progress.bytes.load(Relaxed));
            }
            drop(finish);
        }
    }
}
