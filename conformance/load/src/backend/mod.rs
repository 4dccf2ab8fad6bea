//! The backend: answers as a request's query asks, with a head and a body that say whose they are.

mod answer;
mod request;
mod wrong;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};

pub use wrong::Wrong;

use request::{Read, Reader};

/// Ids of requests with bodies that are remembered, at least.
const REMEMBERED: usize = 100_000;

/// What is remembered of requests that must not come twice.
#[derive(Debug, Default)]
struct Seen {
    now: HashMap<u64, u64>,
    before: HashMap<u64, u64>,
}

/// A backend.
#[derive(Debug)]
pub struct Backend {
    name: String,
    wrong: Option<Wrong>,
    answered: AtomicU64,
    seen: Mutex<Seen>,
}

impl Backend {
    /// One of this name; `wrong`: what it does wrong, for a test of the checker.
    pub fn new(name: &str, wrong: Option<Wrong>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            wrong,
            answered: AtomicU64::new(0),
            seen: Mutex::default(),
        })
    }

    /// Requests that were read whole.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The how-manieth request with this id it is.
    fn times(&self, id: u64) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.now.len() >= REMEMBERED {
            seen.before = std::mem::take(&mut seen.now);
        }
        let before = seen.before.get(&id).copied().unwrap_or(0);
        let times = seen.now.entry(id).or_insert(before);
        *times += 1;
        *times
    }

    /// Serves connections until accepting fails for good.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let backend = Arc::clone(&self);
                    tokio::spawn(async move {
                        // The peer has gone: it knows.
                        let _ = backend.connection(stream).await;
                    });
                }
                // Too many open files, or a connection that ended already.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    }

    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = Reader::default();
        loop {
            match reader.next(&mut stream).await? {
                Read::End => return Ok(()),
                Read::Malformed(why) => return answer::refuse(&mut stream, &why).await,
                Read::Request(request) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    let times = if request.method == "GET" || request.method == "HEAD" {
                        1
                    } else {
                        self.times(request.id)
                    };
                    if !answer::send(self, &mut stream, &request, times).await? {
                        return Ok(());
                    }
                }
            }
        }
    }
}
