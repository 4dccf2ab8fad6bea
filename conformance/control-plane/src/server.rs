//! The server: ADS on a port of its own, and the handles by which tests and scripts lead it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::{
        AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
    },
};
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::behaviour::{Behaviour, Command};
use crate::event::{Event, Log};
use crate::served::Served;
use crate::stream::{self, Context, Delta, State, StateOfTheWorld};

/// Commands that a stream has not taken yet.
const COMMANDS: usize = 64;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("{address}: cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("the certificate or its key cannot be used: {0}")]
    Tls(#[source] tonic::transport::Error),
}

/// How a server secures its channels; all in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The server's certificate.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Who signs the certificates that clients must have; `None`: they need none.
    pub client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Tls {
    /// The key goes nowhere.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tls")
    }
}

/// A running control plane; dropping it ends all its streams.
#[derive(Debug)]
pub struct ControlPlane {
    address: SocketAddr,
    leader: Leader,
    task: AbortHandle,
}

/// Changes what a control plane serves, and how.
#[derive(Debug, Clone)]
pub(crate) struct Leader {
    state: Arc<watch::Sender<State>>,
    commands: broadcast::Sender<Command>,
    log: Log,
}

impl ControlPlane {
    /// Starts listening and serves nothing, well-behaved, until told otherwise.
    ///
    /// # Errors
    /// The address is taken, or the certificate is not one.
    pub async fn start(address: SocketAddr, tls: Option<Tls>) -> Result<ControlPlane, StartError> {
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let log = Log::new();
        let (commands, _) = broadcast::channel(COMMANDS);
        let state = Arc::new(watch::Sender::new(State::default()));
        let service = Service {
            state: state.subscribe(),
            commands: commands.clone(),
            log: log.clone(),
            streams: AtomicU64::new(0),
        };
        let mut server = Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(Duration::from_secs(60)));
        if let Some(tls) = tls {
            let identity = Identity::from_pem(tls.certificate, tls.key);
            let mut config = ServerTlsConfig::new().identity(identity);
            if let Some(ca) = tls.client_ca {
                config = config.client_ca_root(Certificate::from_pem(ca));
            }
            server = server.tls_config(config).map_err(StartError::Tls)?;
        }
        let service = AggregatedDiscoveryServiceServer::new(service)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let serving = server
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!("the server has ended: {error}");
            }
        });
        Ok(ControlPlane {
            address,
            leader: Leader {
                state,
                commands,
                log,
            },
            task: task.abort_handle(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves these resources from now on: to every stream goes what is new to it.
    pub fn serve(&self, served: Served) {
        self.leader.serve(served);
    }

    /// What is served.
    pub fn served(&self) -> Arc<Served> {
        self.leader.served()
    }

    /// Behaves this way from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.leader.behave(behaviour);
    }

    /// Does something on every stream that there is.
    pub fn command(&self, command: Command) {
        self.leader.command(command);
    }

    /// All that has happened.
    pub fn events(&self) -> Vec<Event> {
        self.leader.log.from(0)
    }

    /// Waits until what has happened satisfies `check`, as long as that takes; gives all events.
    pub async fn wait(&self, check: impl FnMut(&[Event]) -> bool) -> Vec<Event> {
        self.leader.wait(0, check).await
    }

    /// All events from the one at `start` on, and then each as it happens.
    pub async fn events_from(&self, start: usize) -> Vec<Event> {
        self.leader.wait(start, |events| !events.is_empty()).await
    }

    pub(crate) fn leader(&self) -> Leader {
        self.leader.clone()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.task.abort();
        self.leader.command(Command::Close);
    }
}

impl Leader {
    pub(crate) fn serve(&self, served: Served) {
        let served = Arc::new(served);
        self.state.send_modify(|state| state.served = served);
    }

    pub(crate) fn served(&self) -> Arc<Served> {
        self.state.borrow().served.clone()
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        let behaviour = Arc::new(behaviour);
        self.state.send_modify(|state| state.behaviour = behaviour);
    }

    pub(crate) fn command(&self, command: Command) {
        // Without a stream there is nobody to take it.
        let _ = self.commands.send(command);
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> usize {
        *self.log.changes().borrow()
    }

    pub(crate) async fn wait(
        &self,
        start: usize,
        mut check: impl FnMut(&[Event]) -> bool,
    ) -> Vec<Event> {
        let mut changes = self.log.changes();
        loop {
            changes.mark_unchanged();
            let events = self.log.from(start);
            if check(&events) {
                return events;
            }
            if changes.changed().await.is_err() {
                return events;
            }
        }
    }
}

struct Service {
    state: watch::Receiver<State>,
    commands: broadcast::Sender<Command>,
    log: Log,
    streams: AtomicU64,
}

impl Service {
    fn context(&self) -> Context {
        let mut state = self.state.clone();
        // A stream is told what is served when it asks.
        state.mark_unchanged();
        Context {
            stream: self.streams.fetch_add(1, Ordering::Relaxed) + 1,
            log: self.log.clone(),
            state,
            commands: self.commands.subscribe(),
        }
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let responses = stream::serve::<StateOfTheWorld>(request.into_inner(), self.context());
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let responses = stream::serve::<Delta>(request.into_inner(), self.context());
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}
