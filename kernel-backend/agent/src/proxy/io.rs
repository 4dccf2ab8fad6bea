//! Streams with what the proxy has to know of them: bytes read ahead, bytes carried, and when a
//! response has left.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::heads::Heads;
use super::hooks::Hooks;

/// A stream between client, proxy or endpoint.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Says that the body of a response has ended: with the next flush it has left.
#[derive(Default)]
pub struct Mark {
    ended: AtomicBool,
    hooks: Option<Arc<dyn Hooks>>,
}

impl Mark {
    /// A mark that tells these hooks.
    pub fn new(hooks: Option<Arc<dyn Hooks>>) -> Self {
        Self {
            ended: AtomicBool::new(false),
            hooks,
        }
    }

    /// The response's last byte has been handed over.
    pub fn end(&self) {
        if self.hooks.is_some() {
            self.ended.store(true, Relaxed);
        }
    }

    fn flushed(&self) {
        if let Some(hooks) = &self.hooks
            && self.ended.swap(false, Relaxed)
        {
            hooks.response_written();
        }
    }
}

/// A client's stream: bytes that were read ahead come first.
pub struct ClientIo<S> {
    stream: S,
    ahead: Bytes,
    mark: Arc<Mark>,
    heads: Option<Arc<Mutex<Heads>>>,
}

impl<S> ClientIo<S> {
    /// A stream whose first bytes were read already.
    pub fn new(stream: S, ahead: Bytes, mark: Arc<Mark>) -> Self {
        Self {
            stream,
            ahead,
            mark,
            heads: None,
        }
    }

    /// The same, with the heads of its requests kept.
    pub fn with_heads(self, heads: Arc<Mutex<Heads>>) -> Self {
        Self {
            heads: Some(heads),
            ..self
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = if self.ahead.has_remaining() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(length));
            Poll::Ready(Ok(()))
        } else {
            Pin::new(&mut self.stream).poll_read(cx, buffer)
        };
        if let (Some(heads), Some(new)) = (&self.heads, buffer.filled().get(before..)) {
            let mut heads = heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.feed(new);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.mark.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.mark.flushed();
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream that counts.
pub struct Counted<S> {
    stream: S,
    counts: Arc<Counts>,
}

/// Bytes of a stream.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes read.
    pub read: AtomicU64,
    /// Bytes written.
    pub written: AtomicU64,
}

impl Counts {
    /// Both added up: it changes whenever something moves.
    pub fn total(&self) -> u64 {
        self.read.load(Relaxed) + self.written.load(Relaxed)
    }
}

impl<S> Counted<S> {
    /// Counts from now on.
    pub fn new(stream: S, counts: Arc<Counts>) -> Self {
        Self { stream, counts }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len().saturating_sub(before);
        self.counts.read.fetch_add(read as u64, Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.counts.written.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.counts.written.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
