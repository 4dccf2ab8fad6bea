//! Sockets of the snapshot's listeners: bound, and unbound, as policies come.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{ConnectionInfo, OriginalDestination, Proxy, connection};
use crate::live::Current;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long accepting rests after an error that lies with the process (too many open files).
const REST: Duration = Duration::from_millis(50);

/// A listener's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundListener {
    /// `Listener.name`.
    pub listener: String,
    /// The address that the snapshot says.
    pub wanted: SocketAddr,
    /// The address that it has; where the snapshot says port 0, the port that the kernel chose.
    /// An error where it is not bound.
    pub local: Result<SocketAddr, String>,
}

type Key = (String, SocketAddr);

struct Socketed {
    local: Result<SocketAddr, String>,
    stop: CancellationToken,
}

/// The sockets of the snapshot's listeners.
#[derive(Clone)]
pub struct Bound {
    proxy: Proxy,
    /// The kernel takes connections to listeners wherever they are: an address that is not this
    /// machine's need not be bound.
    caught: bool,
    sockets: Arc<Mutex<HashMap<Key, Socketed>>>,
}

impl Bound {
    /// None yet. `caught`: the kernel takes their connections too.
    pub fn new(proxy: &Proxy, caught: bool) -> Self {
        Self {
            proxy: proxy.clone(),
            caught,
            sockets: Arc::default(),
        }
    }

    /// Binds what the policy has and is not bound, lets go of what it has no more: connections of
    /// a listener that has gone are drained. What cannot be bound is tried again with the next
    /// policy. Has to be called within a tokio runtime.
    pub fn follow(&self, policy: &Current) -> Vec<BoundListener> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted: HashMap<Key, (bool, bool)> = HashMap::new();
        for listener in &policy.plan.listeners {
            for (address, v4_too) in &listener.bind {
                let key = (listener.name.clone(), *address);
                wanted.insert(key, (*v4_too, listener.original_dst));
            }
        }
        sockets.retain(|key, socketed| {
            let stays = wanted.contains_key(key) && socketed.local.is_ok();
            if !stays {
                socketed.stop.cancel();
            }
            stays
        });
        for (key, (v4_too, original_dst)) in wanted {
            sockets.entry(key).or_insert_with_key(|(name, address)| {
                let stop = self.proxy.shared.drain.child_token();
                let bound = bind(*address, v4_too).and_then(|listener| {
                    let local = listener.local_addr()?;
                    Ok((listener, local))
                });
                let local = match bound {
                    Ok((listener, local)) => {
                        let accepting = Accepting {
                            proxy: self.proxy.clone(),
                            name: Some(Arc::from(name.as_str())),
                            original: if original_dst {
                                Original::Socket
                            } else {
                                Original::Local
                            },
                            stop: stop.clone(),
                        };
                        tokio::spawn(accepting.run(listener));
                        Ok(local)
                    }
                    Err(error) => {
                        if self.caught {
                            tracing::info!("listener {name:?}: {address} is not bound ({error}); the kernel takes its connections");
                        } else {
                            tracing::error!("listener {name:?}: {address} cannot be bound: {error}");
                        }
                        Err(error.to_string())
                    }
                };
                Socketed { local, stop }
            });
        }
        drop(sockets);
        self.list()
    }

    /// All sockets that the policy wants.
    pub fn list(&self) -> Vec<BoundListener> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<BoundListener> = sockets
            .iter()
            .map(|((listener, wanted), socketed)| BoundListener {
                listener: listener.clone(),
                wanted: *wanted,
                local: socketed.local.clone(),
            })
            .collect();
        list.sort_by(|one, other| {
            (&one.listener, one.wanted).cmp(&(&other.listener, other.wanted))
        });
        list
    }

    /// Accepts connections of a socket of the agent's own, whose destination `original` knows.
    pub fn accept_redirected(&self, listener: TcpListener, original: Arc<dyn OriginalDestination>) {
        let accepting = Accepting {
            proxy: self.proxy.clone(),
            name: None,
            original: Original::Known(original),
            stop: self.proxy.shared.drain.child_token(),
        };
        tokio::spawn(accepting.run(listener));
    }
}

fn bind(address: SocketAddr, v4_too: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!v4_too)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

enum Original {
    /// The socket's own address.
    Local,
    /// `SO_ORIGINAL_DST`.
    Socket,
    /// Somebody knows.
    Known(Arc<dyn OriginalDestination>),
}

struct Accepting {
    proxy: Proxy,
    name: Option<Arc<str>>,
    original: Original,
    stop: CancellationToken,
}

impl Accepting {
    async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::error!(listener = self.name.as_deref(), "accepting: {error}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(info) = self.info(&stream, peer) else {
            self.proxy.shared.metrics.refused_connection();
            tracing::warn!(source = %peer, "the connection is closed: nothing is known of where it was going");
            return;
        };
        let shared = Arc::clone(&self.proxy.shared);
        let stop = self.stop.clone();
        self.proxy.shared.tasks.spawn(async move {
            connection::serve(&shared, stream, Bytes::new(), info, None, stop).await;
        });
    }

    fn info(&self, stream: &TcpStream, peer: SocketAddr) -> Option<ConnectionInfo> {
        // An error here is the connection's: it is gone already.
        stream.set_nodelay(true).ok()?;
        let local = stream.local_addr().ok()?;
        let destination = match &self.original {
            Original::Local => local,
            Original::Socket => {
                let socket = SockRef::from(stream);
                let original = if local.is_ipv4() {
                    socket.original_dst_v4()
                } else {
                    socket.original_dst_v6()
                };
                let original = original.ok().and_then(|address| address.as_socket());
                original.unwrap_or(local)
            }
            Original::Known(known) => known.of(peer, local)?,
        };
        Some(ConnectionInfo {
            source: peer,
            destination,
            listener: self.name.clone(),
        })
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
