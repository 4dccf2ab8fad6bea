//! Sends all requests, in their order, and keeps what came back.
//!
//! Decisions depend on the order of requests (balancers), so at any time requests are under way on
//! one connection only. There they are pipelined, which keeps their order: Envoy reads the next
//! one when the one before is answered.

mod connection;

use std::collections::HashMap;
use std::net::SocketAddr;

use twinmesh_engine::Request;

use crate::error::EnvoyError;
use crate::plan::{Entry, Plan, Way};
use crate::response::Response;
use connection::Connection;

/// How many requests are under way at most.
const WINDOW: usize = 64;

/// How many bytes they have together at most: what a socket takes without a reader.
const WINDOW_BYTES: usize = 1 << 15;

/// Idle connections beyond which all are closed.
const MOST_IDLE: usize = 256;

/// What came back for a request.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Its place in the access log; `None` where it was not sent.
    pub sent: Option<Sent>,
    /// The response; `None` where the connection was closed without one.
    pub response: Option<Response>,
    /// Its body.
    pub body: Vec<u8>,
    /// Why it has neither.
    pub failure: Option<String>,
}

/// Over which connection a request went, and how many before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The connection's own end, as the access log has it.
    pub from: String,
    /// Counts the requests of the connection.
    pub number: usize,
}

/// The client's connections to one Envoy.
pub struct Client<'a> {
    /// The address of each entry.
    addresses: HashMap<Entry, SocketAddr>,
    requests: &'a [Request],
    plans: &'a [Plan],
    /// Counts the connections, for an address of its own for each.
    opened: &'a mut u32,
    idle: HashMap<Way, Connection>,
}

impl<'a> Client<'a> {
    /// For these requests, a plan for each; `opened` counts the connections that this Envoy has had.
    pub fn new(
        addresses: HashMap<Entry, SocketAddr>,
        requests: &'a [Request],
        plans: &'a [Plan],
        opened: &'a mut u32,
    ) -> Self {
        Self {
            addresses,
            requests,
            plans,
            opened,
            idle: HashMap::new(),
        }
    }

    /// Sends them.
    ///
    /// # Errors
    /// A connection cannot be made at all, at the request of this index.
    pub fn send(mut self) -> Result<Vec<Answer>, (usize, EnvoyError)> {
        let mut answers = vec![Answer::default(); self.requests.len()];
        let mut next = 0;
        while let Some(plan) = self.plans.get(next) {
            let Plan::Send { way, alone } = plan else {
                next += 1;
                continue;
            };
            let end = if *alone {
                next + 1
            } else {
                self.window(next, way)
            };
            let done = self.exchange(way, *alone, next..end, &mut answers);
            next += done.map_err(|error| (next, error))?;
        }
        Ok(answers)
    }

    /// The end of the requests from `start` on that can be under way together.
    fn window(&self, start: usize, way: &Way) -> usize {
        let mut bytes = 0;
        let mut end = start;
        while end - start < WINDOW
            && let Some(Plan::Send {
                way: other,
                alone: false,
            }) = self.plans.get(end)
            && other == way
            && let Some(request) = self.requests.get(end)
        {
            bytes += request.head().len();
            if bytes > WINDOW_BYTES && end > start {
                break;
            }
            end += 1;
        }
        end
    }

    /// Sends these requests over one connection; returns how many of them are dealt with.
    fn exchange(
        &mut self,
        way: &Way,
        alone: bool,
        range: std::ops::Range<usize>,
        answers: &mut [Answer],
    ) -> Result<usize, EnvoyError> {
        let kept = if alone { None } else { self.idle.remove(way) };
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(way)?,
        };
        let requests = self.requests.get(range.clone()).unwrap_or_default();
        let answers = answers.get_mut(range).unwrap_or_default();
        let mut done = 0;
        let mut open = connection.write(requests);
        while open && let Some((request, answer)) = requests.get(done).zip(answers.get_mut(done)) {
            let from = connection.from.clone();
            let number = connection.answered;
            match connection.read(request, alone) {
                Ok(Some((response, body))) => {
                    open = !response.is_last;
                    answer.sent = Some(Sent { from, number });
                    answer.response = Some(response);
                    answer.body = body;
                    done += 1;
                }
                Ok(None) => open = false,
                Err(error) => {
                    answer.sent = Some(Sent { from, number });
                    answer.failure = Some(error.to_string());
                    done += 1;
                    open = false;
                }
            }
        }
        if open && !alone {
            if self.idle.len() >= MOST_IDLE {
                self.idle.clear();
            }
            self.idle.insert(way.clone(), connection);
        } else if done == 0 && !is_kept {
            // A fresh connection that ends at once is the answer to its first request.
            if let Some(answer) = answers.first_mut() {
                answer.sent = Some(Sent {
                    from: connection.from.clone(),
                    number: 0,
                });
            }
            done = 1;
        }
        Ok(done)
    }

    fn open(&mut self, way: &Way) -> Result<Connection, EnvoyError> {
        let address = self.addresses.get(&way.entry).copied().ok_or_else(|| {
            EnvoyError::Unexpected(format!("Envoy does not listen at entry {:?}", way.entry))
        })?;
        *self.opened = self.opened.wrapping_add(1);
        Connection::open(address, way, *self.opened)
    }
}
