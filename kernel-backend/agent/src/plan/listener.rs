//! Listeners: where they are bound, and what their filter chains ask of a connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{
    Address, address::Address as AddressKind, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::network::{
    http_connection_manager::v3::{HttpConnectionManager, http_connection_manager::CodecType},
    tcp_proxy::v3::TcpProxy,
};
use twinmesh_xds::{FilterChain, Listener, Terminal};

use super::{Warnings, duration, is_plain, timeout};

/// `Listener.listener_filters_timeout` by default.
const LISTENER_FILTERS_TIMEOUT: Duration = Duration::from_secs(15);
/// `HttpConnectionManager.stream_idle_timeout` by default.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Idle connections, HTTP and TCP, by default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// `max_request_headers_kb` by default.
const HEADERS_KB: u32 = 60;
/// `max_headers_count` by default.
const HEADERS: u32 = 100;

/// A listener.
#[derive(Debug, Clone, Default)]
pub struct ListenerPlan {
    /// `Listener.name`.
    pub name: String,
    /// Addresses to bind, and whether `[::]` takes IPv4 too; none where `bind_to_port` is false.
    pub bind: Vec<(SocketAddr, bool)>,
    /// `use_original_dst`, or the listener filter of that name.
    pub original_dst: bool,
    /// What its listener filters look at.
    pub inspect: Option<Inspect>,
    /// One for each of `Listener.filter_chains`.
    pub chains: Vec<ChainPlan>,
    /// `Listener.default_filter_chain`.
    pub default_chain: Option<ChainPlan>,
}

/// What listener filters look at in a connection's first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspect {
    /// `listener_filters_timeout`; `None`: wait for ever.
    pub timeout: Option<Duration>,
    /// The HTTP inspector is there: what is neither TLS nor HTTP/1 is not decided.
    pub http: bool,
}

/// A filter chain.
#[derive(Debug, Clone)]
pub struct ChainPlan {
    /// Why connections cannot be served.
    pub impossible: Option<String>,
    /// What its last filter is.
    pub kind: ChainKind,
}

/// The last filter of a filter chain.
#[derive(Debug, Clone)]
pub enum ChainKind {
    /// An HTTP connection manager.
    Http(ManagerPlan),
    /// A TCP proxy.
    Tcp(TcpPlan),
    /// None that is known.
    Unknown,
}

/// What is taken from an HTTP connection manager.
#[derive(Debug, Clone)]
pub struct ManagerPlan {
    /// `max_request_headers_kb` in bytes.
    pub header_bytes: usize,
    /// `common_http_protocol_options.max_headers_count`.
    pub headers: usize,
    /// `request_headers_timeout`: from a request's first byte to the end of its head.
    pub request_headers_timeout: Option<Duration>,
    /// `stream_idle_timeout`.
    pub stream_idle_timeout: Option<Duration>,
    /// `common_http_protocol_options.idle_timeout`: a connection without requests.
    pub idle_timeout: Option<Duration>,
    /// `http_protocol_options.accept_http_10`.
    pub accept_http_10: bool,
    /// `http_protocol_options.default_host_for_http_10`.
    pub default_host: String,
    /// `upgrade_configs`: the type in lower case, and whether it is enabled.
    pub upgrades: Vec<(String, bool)>,
}

/// What is taken from a TCP proxy.
#[derive(Debug, Clone)]
pub struct TcpPlan {
    /// `TcpProxy.idle_timeout`.
    pub idle_timeout: Option<Duration>,
    /// `TcpProxy.max_connect_attempts`.
    pub connect_attempts: u32,
    /// Why connections cannot be carried.
    pub impossible: Option<String>,
}

fn socket_address(address: Option<&Address>) -> Option<(SocketAddr, bool)> {
    let Some(AddressKind::SocketAddress(socket)) = address?.address.as_ref() else {
        return None;
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    let ip: IpAddr = socket.address.parse().ok()?;
    let port = u16::try_from(port).ok()?;
    Some((SocketAddr::new(ip, port), socket.ipv4_compat))
}

impl ListenerPlan {
    pub(super) fn new(listener: &Listener, warnings: &mut Warnings) -> Self {
        let config = &listener.config;
        warnings.enter(format!("listener {:?}", listener.name), String::new());
        #[allow(deprecated)]
        let old = config
            .deprecated_v1
            .as_ref()
            .and_then(|old| old.bind_to_port.as_ref());
        let binds = config.bind_to_port.as_ref().or(old);
        let binds = binds.is_none_or(|value| value.value);
        let addresses = std::iter::once(config.address.as_ref()).chain(
            config
                .additional_addresses
                .iter()
                .map(|additional| additional.address.as_ref()),
        );
        let (mut tls, mut http, mut original) = (false, false, false);
        for (index, filter) in config.listener_filters.iter().enumerate() {
            let name = match &filter.config_type {
                Some(ConfigType::TypedConfig(any)) => {
                    any.type_url.rsplit('.').next().unwrap_or_default()
                }
                _ => filter.name.as_str(),
            };
            match name {
                "TlsInspector" | "envoy.filters.listener.tls_inspector" => tls = true,
                "HttpInspector" | "envoy.filters.listener.http_inspector" => http = true,
                "OriginalDst" | "envoy.filters.listener.original_dst" => original = true,
                _ => warnings.note(
                    true,
                    &format!("listener_filters[{index}]"),
                    "the listener filter is not run",
                ),
            }
        }
        original |= config
            .use_original_dst
            .as_ref()
            .is_some_and(|value| value.value);
        warnings.note(
            config.filter_chain_matcher.is_some(),
            "filter_chain_matcher",
            "no filter chain is chosen by a matcher tree: the listener's requests are not decided",
        );
        warnings.note(
            config.listener_specifier.is_some(),
            "internal_listener",
            "nothing is taken from inside: the listener gets no connections",
        );
        warnings.note(
            config.transparent.as_ref().is_some_and(|value| value.value),
            "transparent",
            "the socket is not transparent",
        );
        warnings.note(
            !config.access_log.is_empty(),
            "access_log",
            "is not written; the agent has its own",
        );
        let inspect = (tls || http).then(|| Inspect {
            timeout: timeout(
                config.listener_filters_timeout.as_ref(),
                Some(LISTENER_FILTERS_TIMEOUT),
            ),
            http,
        });
        let chains = listener.filter_chains.iter().enumerate();
        let chains = chains
            .map(|(index, chain)| {
                warnings.root = format!("filter_chains[{index}].");
                ChainPlan::new(chain, warnings)
            })
            .collect();
        let default_chain = listener.default_filter_chain.as_ref().map(|chain| {
            warnings.root = "default_filter_chain.".to_owned();
            ChainPlan::new(chain, warnings)
        });
        Self {
            name: listener.name.clone(),
            bind: if binds {
                addresses.filter_map(socket_address).collect()
            } else {
                Vec::new()
            },
            original_dst: original,
            inspect,
            chains,
            default_chain,
        }
    }
}

impl ChainPlan {
    fn new(chain: &FilterChain, warnings: &mut Warnings) -> Self {
        let socket = chain.config.transport_socket.as_ref();
        let plain = is_plain(socket);
        let impossible = (!plain).then(|| {
            "transport_socket: the filter chain speaks TLS, which this proxy does not yet"
                .to_owned()
        });
        warnings.note(
            !plain,
            "transport_socket",
            "there is no TLS from clients yet: connections that get this filter chain are closed",
        );
        let filters = chain.config.filters.len();
        warnings.note(
            filters > 1,
            "filters",
            "the network filters before the last are not run",
        );
        let root = warnings.root.clone();
        warnings.root = format!("{root}filters[{}].typed_config.", filters.saturating_sub(1));
        let kind = match &chain.terminal {
            Terminal::Unknown => ChainKind::Unknown,
            Terminal::Http { manager, .. } => ChainKind::Http(ManagerPlan::new(manager, warnings)),
            Terminal::Tcp(proxy) => ChainKind::Tcp(TcpPlan::new(proxy, warnings)),
        };
        Self { impossible, kind }
    }
}

impl ManagerPlan {
    fn new(manager: &HttpConnectionManager, warnings: &mut Warnings) -> Self {
        let codec = CodecType::try_from(manager.codec_type);
        warnings.note(
            matches!(codec, Ok(CodecType::Http2 | CodecType::Http3)),
            "codec_type",
            "there is no HTTP/2 or HTTP/3 from clients yet: no request is decided",
        );
        for (index, filter) in manager.http_filters.iter().enumerate() {
            let is_router = index + 1 == manager.http_filters.len();
            warnings.note(
                !is_router && !filter.disabled,
                &format!("http_filters[{index}]"),
                &format!("the HTTP filter {:?} is not run", filter.name),
            );
        }
        warnings.note(
            manager.tracing.is_some(),
            "tracing",
            "no spans are reported",
        );
        warnings.note(
            !manager.access_log.is_empty(),
            "access_log",
            "is not written; the agent has its own",
        );
        warnings.note(
            manager
                .use_remote_address
                .as_ref()
                .is_some_and(|value| value.value),
            "use_remote_address",
            "x-forwarded-for is not added",
        );
        warnings.note(
            manager.local_reply_config.is_some(),
            "local_reply_config",
            "local replies are Envoy's own",
        );
        warnings.note(
            !manager.via.is_empty(),
            "via",
            "is not added to what endpoints get",
        );
        warnings.note(
            manager.append_x_forwarded_port,
            "append_x_forwarded_port",
            "x-forwarded-port is not added to what endpoints get",
        );
        warnings.note(
            manager.forward_client_cert_details != 0,
            "forward_client_cert_details",
            "x-forwarded-client-cert is left as it comes",
        );
        warnings.note(
            manager.proxy_100_continue,
            "proxy_100_continue",
            "the proxy answers 100-continue itself",
        );
        warnings.note(
            timeout(manager.request_timeout.as_ref(), None).is_some(),
            "request_timeout",
            "is not applied",
        );
        let common = manager.common_http_protocol_options.as_ref();
        warnings.note(
            common.is_some_and(|common| common.max_connection_duration.is_some()),
            "common_http_protocol_options.max_connection_duration",
            "is not applied",
        );
        warnings.note(
            common.is_some_and(|common| common.max_stream_duration.is_some()),
            "common_http_protocol_options.max_stream_duration",
            "is not applied",
        );
        let http1 = manager.http_protocol_options.as_ref();
        let headers_count = common.and_then(|common| common.max_headers_count.as_ref());
        let header_kb = manager.max_request_headers_kb.as_ref();
        let upgrades = manager.upgrade_configs.iter().map(|config| {
            let enabled = config.enabled.as_ref().is_none_or(|value| value.value);
            (config.upgrade_type.to_ascii_lowercase(), enabled)
        });
        Self {
            header_bytes: header_kb.map_or(HEADERS_KB, |value| value.value) as usize * 1024,
            headers: headers_count.map_or(HEADERS, |value| value.value) as usize,
            request_headers_timeout: manager
                .request_headers_timeout
                .as_ref()
                .map(duration)
                .filter(|value| !value.is_zero()),
            stream_idle_timeout: timeout(
                manager.stream_idle_timeout.as_ref(),
                Some(STREAM_IDLE_TIMEOUT),
            ),
            idle_timeout: timeout(
                common.and_then(|common| common.idle_timeout.as_ref()),
                Some(IDLE_TIMEOUT),
            ),
            accept_http_10: http1.is_some_and(|http1| http1.accept_http_10),
            default_host: http1
                .map(|http1| http1.default_host_for_http_10.clone())
                .unwrap_or_default(),
            upgrades: upgrades.collect(),
        }
    }

    /// Whether an upgrade of this type (in lower case) is enabled for all routes that do not say.
    pub fn upgrade(&self, kind: &str) -> bool {
        let mut configs = self.upgrades.iter();
        configs.any(|(configured, enabled)| configured == kind && *enabled)
    }
}

impl TcpPlan {
    fn new(proxy: &TcpProxy, warnings: &mut Warnings) -> Self {
        let tunnels = proxy.tunneling_config.is_some();
        warnings.note(
            tunnels,
            "tunneling_config",
            "there are no tunnels yet: connections are closed",
        );
        warnings.note(
            proxy.max_downstream_connection_duration.is_some(),
            "max_downstream_connection_duration",
            "is not applied",
        );
        warnings.note(
            !proxy.access_log.is_empty(),
            "access_log",
            "is not written; the agent has its own",
        );
        let attempts = proxy.max_connect_attempts.as_ref();
        Self {
            idle_timeout: timeout(proxy.idle_timeout.as_ref(), Some(IDLE_TIMEOUT)),
            connect_attempts: attempts.map_or(1, |value| value.value.max(1)),
            impossible: tunnels
                .then(|| "tunneling_config: connections are not tunnelled yet".to_owned()),
        }
    }
}
