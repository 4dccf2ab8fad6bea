//! Two timers in one: the route's timeout, and a stream's idle timeout.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Which timer ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// `RouteAction.timeout`.
    Timeout,
    /// `stream_idle_timeout`.
    Idle,
}

/// The timers of one request.
#[derive(Debug)]
pub struct Watch {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    idle: Option<Duration>,
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// `timeout` runs from [`Self::request_ended`] on, `idle` from the last [`Self::active`] on.
    pub fn new(timeout: Option<Duration>, idle: Option<Duration>) -> Self {
        Self {
            timeout,
            deadline: None,
            idle,
            last: Instant::now(),
            sleep: None,
        }
    }

    /// The request's last byte is there.
    pub fn request_ended(&mut self) {
        if self.deadline.is_none()
            && let Some(timeout) = self.timeout
        {
            self.deadline = Instant::now().checked_add(timeout);
            self.sleep = None;
        }
    }

    /// Something moved.
    pub fn active(&mut self) {
        self.last = Instant::now();
    }

    fn next(&self) -> Option<Instant> {
        let idle = self.idle.and_then(|idle| self.last.checked_add(idle));
        match (self.deadline, idle) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Ready when a timer has run out.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        loop {
            let Some(next) = self.next() else {
                return Poll::Pending;
            };
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(sleep_until(next)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(Expired::Timeout);
            }
            if next <= now {
                return Poll::Ready(Expired::Idle);
            }
            sleep.as_mut().reset(next);
        }
    }
}
