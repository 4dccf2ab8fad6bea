//! Clusters: how connections to their endpoints are made.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{Metadata, TransportSocket};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
};
use envoy_types::pb::google::protobuf::Struct;
use prost::Message as _;
use twinmesh_xds::Cluster;

use super::{MIRROR, RETRY, Warnings, duration, is_plain, timeout};

/// `Cluster.connect_timeout` by default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// `HttpProtocolOptions.idle_timeout` by default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// How requests reach a cluster's endpoints.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// `Cluster.name`.
    pub name: String,
    /// `Cluster.connect_timeout`.
    pub connect_timeout: Duration,
    /// How long an upstream connection may be idle in the pool; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// `max_requests_per_connection`; `None`: any number.
    pub max_requests: Option<u64>,
    /// Whether HTTP requests can be sent in HTTP/1.1; else why not.
    pub http: Result<(), String>,
    transport: Transport,
    matches: Vec<(Option<Struct>, Transport)>,
    endpoints: Vec<Vec<Option<Metadata>>>,
}

/// What bytes to an endpoint go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Plain,
    /// TLS or another transport socket, which this proxy does not have.
    Other,
}

fn transport(socket: Option<&TransportSocket>) -> Transport {
    if is_plain(socket) {
        Transport::Plain
    } else {
        Transport::Other
    }
}

impl ClusterPlan {
    pub(super) fn new(cluster: &Cluster, warnings: &mut Warnings) -> Self {
        let config = &cluster.config;
        warnings.enter(format!("cluster {:?}", cluster.name), String::new());
        let own = transport(config.transport_socket.as_ref());
        warnings.note(
            own == Transport::Other,
            "transport_socket",
            "there is no TLS to endpoints yet: requests that choose the cluster are answered 503",
        );
        let matches: Vec<(Option<Struct>, Transport)> = config
            .transport_socket_matches
            .iter()
            .map(|entry| {
                (
                    entry.r#match.clone(),
                    transport(entry.transport_socket.as_ref()),
                )
            })
            .collect();
        warnings.note(
            matches.iter().any(|(_, kind)| *kind == Transport::Other),
            "transport_socket_matches",
            "there is no TLS to endpoints yet: requests to an endpoint that asks for it are answered 503",
        );
        #[allow(deprecated)]
        let (old_http2, old_common) = (
            config.http2_protocol_options.is_some(),
            config.common_http_protocol_options,
        );
        let mut http = if old_http2 {
            Err("http2_protocol_options")
        } else {
            Ok(())
        };
        let mut common = old_common;
        #[allow(deprecated)]
        let mut max_requests = config.max_requests_per_connection.as_ref();
        let mut options = None;
        for (name, any) in &config.typed_extension_protocol_options {
            if any
                .type_url
                .ends_with("envoy.extensions.upstreams.http.v3.HttpProtocolOptions")
            {
                options = HttpProtocolOptions::decode(&*any.value).ok();
            } else {
                warnings.note(
                    true,
                    &format!("typed_extension_protocol_options[{name:?}]"),
                    "is not looked at",
                );
            }
        }
        if let Some(options) = &options {
            if let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) =
                &options.upstream_protocol_options
                && matches!(
                    explicit.protocol_config,
                    Some(
                        ProtocolConfig::Http2ProtocolOptions(_)
                            | ProtocolConfig::Http3ProtocolOptions(_)
                    )
                )
            {
                http = Err("HttpProtocolOptions.explicit_http_config");
            }
            if options.common_http_protocol_options.is_some() {
                common = options.common_http_protocol_options;
            }
            warnings.note(
                !options.request_mirror_policies.is_empty(),
                "HttpProtocolOptions.request_mirror_policies",
                MIRROR,
            );
            warnings.note(
                options.retry_policy.is_some(),
                "HttpProtocolOptions.retry_policy",
                RETRY,
            );
        }
        if let Err(field) = http {
            warnings.note(
                true,
                field,
                "there is no HTTP/2 or HTTP/3 to endpoints yet: requests that choose the cluster are answered 503",
            );
        }
        let from_common = common
            .as_ref()
            .and_then(|common| common.max_requests_per_connection.as_ref());
        if from_common.is_some() {
            max_requests = from_common;
        }
        warnings.note(
            config.circuit_breakers.is_some(),
            "circuit_breakers",
            "thresholds are not applied",
        );
        warnings.note(
            config.outlier_detection.is_some(),
            "outlier_detection",
            "endpoints are not ejected",
        );
        warnings.note(
            !config.health_checks.is_empty(),
            "health_checks",
            "endpoints are not checked: they are as healthy as the snapshot says",
        );
        warnings.note(
            config.upstream_bind_config.is_some(),
            "upstream_bind_config",
            "is not applied",
        );
        warnings.note(!config.filters.is_empty(), "filters", "are not run");
        warnings.note(
            config.upstream_config.is_some(),
            "upstream_config",
            "is not applied",
        );
        let connect_timeout = config.connect_timeout.as_ref().map(duration);
        let idle = common
            .as_ref()
            .and_then(|common| common.idle_timeout.as_ref());
        let assignment = cluster.load_assignment.as_ref();
        Self {
            name: cluster.name.clone(),
            connect_timeout: connect_timeout
                .filter(|timeout| !timeout.is_zero())
                .unwrap_or(CONNECT_TIMEOUT),
            idle_timeout: timeout(idle, Some(IDLE_TIMEOUT)),
            max_requests: max_requests
                .map(|value| u64::from(value.value))
                .filter(|value| *value != 0),
            http: http.map_err(|field| {
                format!(
                    "{field}: the endpoints speak HTTP/2 or HTTP/3, which this proxy does not yet"
                )
            }),
            transport: own,
            endpoints: if matches.is_empty() {
                Vec::new()
            } else {
                metadata(assignment)
            },
            matches,
        }
    }

    /// What bytes to the endpoint at this place go through: the first of
    /// `transport_socket_matches` that fits its metadata, else `transport_socket`.
    pub fn transport(&self, place: Option<(usize, usize)>) -> Transport {
        let metadata = place
            .and_then(|(locality, endpoint)| self.endpoints.get(locality)?.get(endpoint)?.as_ref());
        let said = metadata
            .and_then(|metadata| metadata.filter_metadata.get("envoy.transport_socket_match"));
        let fits = |wanted: &Option<Struct>| {
            let Some(wanted) = wanted else {
                return true;
            };
            wanted.fields.iter().all(|(name, value)| {
                said.and_then(|said| said.fields.get(name))
                    .is_some_and(|found| value == found)
            })
        };
        let matched = self.matches.iter().find(|(wanted, _)| fits(wanted));
        matched.map_or(self.transport, |(_, transport)| *transport)
    }
}

fn metadata(assignment: Option<&ClusterLoadAssignment>) -> Vec<Vec<Option<Metadata>>> {
    let groups = assignment.into_iter().flat_map(|it| &it.endpoints);
    groups
        .map(|group| {
            let endpoints = group.lb_endpoints.iter();
            endpoints
                .map(|endpoint| endpoint.metadata.clone())
                .collect()
        })
        .collect()
}
