//! Channels and streams to a management server.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::bootstrap::{Credentials, Server};
use crate::state::{Protocol, Request, Response};
use crate::target::Target;

/// How long TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that is silent so long is asked by TCP whether it is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// After so many times without an answer it is not.
const TCP_KEEPALIVE_RETRIES: u32 = 3;

/// HTTP/2 pings find out what TCP's cannot: a proxy in between that is stuck. gRPC servers refuse
/// clients that ping more often than every five minutes, unless told otherwise.
const PING_INTERVAL: Duration = Duration::from_secs(301);

/// How long the answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest response that is taken; tonic's default of 4 MiB is too small for a mesh.
const LARGEST_RESPONSE: usize = 256 << 20;

/// Opens a channel to a server.
///
/// # Errors
/// A file of the credentials cannot be used, or the server cannot be reached.
pub(crate) async fn connect(server: &Server) -> Result<Channel, String> {
    let scheme = match (&server.target, &server.credentials) {
        (Target::Unix(_), _) => "",
        (Target::Tcp { .. }, Credentials::Insecure) => "http://",
        (Target::Tcp { .. }, Credentials::Tls { .. }) => "https://",
    };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}{}", server.target))
        .map_err(|error| chain(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .tcp_keepalive_interval(Some(TCP_KEEPALIVE))
        .tcp_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES))
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    if let Credentials::Tls { .. } = &server.credentials {
        let config = tls(server).await?;
        endpoint = endpoint
            .tls_config(config)
            .map_err(|error| format!("its TLS files cannot be used: {}", chain(&error)))?;
    }
    endpoint.connect().await.map_err(|error| chain(&error))
}

async fn tls(server: &Server) -> Result<ClientTlsConfig, String> {
    let mut config = ClientTlsConfig::new();
    if let Some(host) = server.target.host() {
        config = config.domain_name(host);
    }
    let Credentials::Tls {
        ca_certificate_file,
        identity,
    } = &server.credentials
    else {
        return Ok(config);
    };
    config = match ca_certificate_file {
        Some(file) => config.ca_certificate(Certificate::from_pem(pem(file).await?)),
        None => config.with_native_roots(),
    };
    if let Some((certificate, key)) = identity {
        config = config.identity(Identity::from_pem(pem(certificate).await?, pem(key).await?));
    }
    Ok(config)
}

async fn pem(file: &std::path::Path) -> Result<Vec<u8>, String> {
    let content = tokio::fs::read(file)
        .await
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    if content.windows(10).any(|window| window == b"-----BEGIN") {
        Ok(content)
    } else {
        Err(format!("{}: expected PEM, found none", file.display()))
    }
}

/// Something that comes on a stream.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The server has taken the stream.
    Opened,
    /// A response.
    Response(Box<Response>),
}

/// Opens an ADS stream; what is sent to `requests` goes to the server.
pub(crate) fn open(
    channel: Channel,
    protocol: Protocol,
    requests: mpsc::Receiver<Request>,
) -> impl Stream<Item = Result<Arrival, tonic::Status>> {
    let client =
        AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST_RESPONSE);
    let requests = ReceiverStream::new(requests);
    match protocol {
        Protocol::StateOfTheWorld => {
            let mut client = client;
            let requests = requests.filter_map(|request| async {
                match request {
                    Request::StateOfTheWorld(request) => Some(request),
                    Request::Delta(_) => None,
                }
            });
            let call = async move { client.stream_aggregated_resources(requests).await };
            arrivals(call, Response::StateOfTheWorld).boxed()
        }
        Protocol::Delta => {
            let mut client = client;
            let requests = requests.filter_map(|request| async {
                match request {
                    Request::Delta(request) => Some(request),
                    Request::StateOfTheWorld(_) => None,
                }
            });
            let call = async move { client.delta_aggregated_resources(requests).await };
            arrivals(call, Response::Delta).boxed()
        }
    }
}

/// A server may send the head of its answer only with the first response.
fn arrivals<T: 'static>(
    call: impl Future<Output = Result<tonic::Response<tonic::Streaming<T>>, tonic::Status>>,
    wrap: fn(T) -> Response,
) -> impl Stream<Item = Result<Arrival, tonic::Status>> {
    stream::once(call)
        .map_ok(move |response| {
            let responses = response
                .into_inner()
                .map_ok(move |response| Arrival::Response(Box::new(wrap(response))));
            stream::once(async { Ok(Arrival::Opened) }).chain(responses)
        })
        .try_flatten()
}

/// An error with all that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
