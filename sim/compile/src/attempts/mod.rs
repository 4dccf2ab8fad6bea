//! What a request that is forwarded has before it: its timeouts and retries, from the messages that
//! it came through and from its headers, as [`twinmesh_attempts`] takes them.

#![allow(deprecated)] // Envoy decides by what it has deprecated

mod asked;
mod breakers;
mod left;
mod outliers;
mod values;

use std::collections::{BTreeSet, VecDeque};

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, RetryPolicy, Route, RouteAction, RouteConfiguration, VirtualHost,
    retry_policy::{ResetHeader, ResetHeaderFormat, retry_host_predicate},
    route::Action,
    route_action::{ClusterSpecifier, HostRewriteSpecifier},
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
};
use envoy_types::pb::google::protobuf::Duration;
use prost::Message as _;
use twinmesh_attempts::retry::{self, Intervals};
use twinmesh_attempts::timeout;
use twinmesh_engine::stream::Response;
use twinmesh_engine::{Decision, Held, Request};
use twinmesh_model::layout::{low, outcome, virtual_host, work};
use twinmesh_xds::Profile;

use crate::answer::Record;
use crate::connect;
use crate::endpoint_name::{endpoint_name, hostname, locality_name};
use crate::header_value;
use crate::managed::Managed;
use crate::rewrite::of_weighted_cluster;
use crate::seen::{Seen, is_grpc, joined};
use crate::{Compiled, Left};
use asked::Asked;

pub(crate) use asked::is_internal;
pub use breakers::thresholds;
pub use outliers::outlier_policy;

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

/// What a request that is forwarded has before it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of its cluster.
    pub cluster: String,
    /// It is gRPC: replies that Envoy makes have the status 200.
    pub grpc: bool,
    /// The route's timeout; 0: none.
    pub route_ms: u64,
    /// The stream's idle timeout; 0: none.
    pub idle_ms: u64,
    /// The longest that the stream lasts.
    pub duration_ms: Option<u64>,
    /// An attempt's timeout, from when it has a connection; 0: none.
    pub per_try_ms: u64,
    /// An attempt's idle timeout; 0: none.
    pub per_try_idle_ms: u64,
    /// The status where a timeout of the route or of an attempt is over.
    pub timeout_status: u32,
    /// Its endpoints are spoken to by HTTP/2.
    pub http2: bool,
    /// `RouteAction.priority` is HIGH.
    pub high: bool,
    /// What is tried again: bits of [`retry::on`].
    pub conditions: u32,
    /// How often.
    pub retries: u32,
    /// With what back off.
    pub intervals: Intervals,
    /// How often another endpoint is chosen in the place of one that was tried before; `None`:
    /// that does not matter.
    pub selections: Option<u64>,
    status_codes: Vec<u64>,
    headers: Vec<HeaderMatcher>,
    /// They see the lines of a repeated header as one, joined by commas.
    joins_lines: bool,
    header_names: Vec<String>,
    reset_headers: Vec<ResetHeader>,
    reset_max_ms: u64,
    /// The endpoint's host name becomes the authority; where it has none, this does.
    authority: Option<String>,
    /// The addresses that the request names for attempts after the first.
    pub named: VecDeque<String>,
}

impl Compiled {
    /// What a request that is forwarded by a route has before it; `None` where it is not. The error
    /// is why it is not decided. The arguments are those of [`Self::answer_managed`].
    pub fn plan(
        &self,
        came: &Request,
        managed: Option<&Managed>,
        left: &Left,
    ) -> Option<Result<Plan, String>> {
        let record = Record { left };
        let code = record.word(work::OUTCOME);
        if code != outcome::FORWARD && code != outcome::FORWARD_TO_DESTINATION {
            return None;
        }
        let listener = self.index(record.word(work::CHOSEN_LISTENER));
        if code == outcome::FORWARD_TO_DESTINATION
            && self.original_destination(came, listener).is_none()
        {
            return None;
        }
        if self.snapshot.profile == Profile::Grpc {
            return Some(Err("attempts of gRPC's calls are not decided".to_owned()));
        }
        let configuration = self.index(record.word(work::CHOSEN_ROUTE_CONFIGURATION))?;
        let configuration = &self
            .snapshot
            .route_configurations
            .get(configuration)?
            .config;
        let host_record = record.word(work::CHOSEN_VIRTUAL_HOST);
        let host = configuration.virtual_hosts.get(self.index(host_record)?)?;
        let first = low(self.policy_word(host_record + virtual_host::ROUTES));
        let position = record.word(work::CHOSEN_ROUTE).checked_sub(1 + first)?;
        let route = host.routes.get(position as usize)?;
        let Some(Action::Route(action)) = &route.action else {
            return None;
        };
        if connect::is_connect(came) || connect::ends(action, &came.method) {
            return Some(Err(
                "attempts of CONNECT requests are not decided".to_owned()
            ));
        }
        let cluster = self.index(record.word(work::CHOSEN_CLUSTER))?;
        let cluster = &self.snapshot.clusters.get(cluster)?.config;
        let request = managed.map_or(came, |managed| &managed.request);
        let seen = self.seen(request, &record);
        let written = [
            &configuration.request_headers_to_add,
            &host.request_headers_to_add,
            &route.request_headers_to_add,
        ];
        let mut written = written
            .into_iter()
            .flatten()
            .filter_map(|it| it.header.as_ref());
        if let Some(header) = written.find(|it| it.key.to_ascii_lowercase().starts_with("x-envoy-"))
        {
            return Some(Err(format!(
                "the route configuration writes {}, which the router may read",
                header.key
            )));
        }
        if let Some(reason) = left::reason(host, route, action, request) {
            return Some(Err(reason.to_owned()));
        }
        let policy = action.retry_policy.as_ref().or(host.retry_policy.as_ref());
        let asked = policy.map_or(&[][..], |policy| &policy.retriable_request_headers);
        let changed = changed_headers(configuration, host, route, action);
        let mut asked = asked
            .iter()
            .map(|matcher| matcher.name.to_ascii_lowercase());
        if let Some(name) = asked.find(|name| changed.contains(name)) {
            return Some(Err(format!(
                "the route changes {name}, which retriable_request_headers asks for"
            )));
        }
        let nothing = HttpConnectionManager::default();
        let manager = self.manager_of(&record).unwrap_or(&nothing);
        let entry = record.word(work::ENTRY).checked_sub(1);
        let plan = Plan::new(manager, host, action, entry, cluster, request, &seen);
        Some(plan.map(|plan| Plan {
            named: self.named_for_retries(&plan.cluster, request, &seen),
            ..plan
        }))
    }

    /// The offset of a cluster's record.
    pub fn cluster_record(&self, index: usize) -> Option<u64> {
        let cluster = self.snapshot.clusters.get(index)?;
        self.clusters.get(&cluster.name).copied()
    }

    /// Names the endpoint of this number in a decision; what the request holds.
    pub fn name_endpoint(
        &self,
        number: u64,
        plan: &Plan,
        came: &Request,
        decision: &mut Decision,
    ) -> Option<Held> {
        let (cluster, locality, endpoint) = (*self.endpoints.get(number as usize)?)?;
        let of = self.snapshot.clusters.get(cluster)?;
        let group = of.load_assignment.as_ref()?.endpoints.get(locality)?;
        let found = group.lb_endpoints.get(endpoint)?;
        decision.endpoint = endpoint_name(found);
        decision.priority = Some(group.priority);
        decision.locality = group.locality.as_ref().and_then(locality_name);
        if let Some(otherwise) = &plan.authority {
            let authority = match hostname(&of.config, found) {
                "" => otherwise,
                name => name,
            };
            let is_same = came.authority.as_deref() == Some(authority);
            decision.authority = (!is_same).then(|| authority.to_owned());
        }
        Some(Held {
            cluster,
            locality,
            endpoint,
            generation: 0,
        })
    }
}

/// The request headers that mutations may change, in lower case.
fn changed_headers(
    configuration: &RouteConfiguration,
    host: &VirtualHost,
    route: &Route,
    action: &RouteAction,
) -> BTreeSet<String> {
    let weighted = match &action.cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted.clusters.as_slice(),
        _ => &[],
    };
    let added = weighted
        .iter()
        .flat_map(|entry| &entry.request_headers_to_add)
        .chain(&route.request_headers_to_add)
        .chain(&host.request_headers_to_add)
        .chain(&configuration.request_headers_to_add);
    let removed = weighted
        .iter()
        .flat_map(|entry| &entry.request_headers_to_remove)
        .chain(&route.request_headers_to_remove)
        .chain(&host.request_headers_to_remove)
        .chain(&configuration.request_headers_to_remove);
    let added = added.filter_map(|option| option.header.as_ref());
    let added = added.map(|header| header.key.to_ascii_lowercase());
    let removed = removed.map(|name| name.to_ascii_lowercase());
    added.chain(removed).collect()
}

impl Plan {
    fn new(
        manager: &HttpConnectionManager,
        host: &VirtualHost,
        action: &RouteAction,
        entry: Option<u64>,
        cluster: &ClusterConfig,
        request: &Request,
        seen: &Seen,
    ) -> Result<Self, String> {
        let asked = Asked::of(manager, request)?;
        if action.hedge_policy.is_some() || host.hedge_policy.is_some() {
            return Err("hedged requests are not decided".to_owned());
        }
        if action.retry_policy_typed_config.is_some() || host.retry_policy_typed_config.is_some() {
            return Err("retry policies by extension are not decided".to_owned());
        }
        let none = RetryPolicy::default();
        let policy = action.retry_policy.as_ref().or(host.retry_policy.as_ref());
        let policy = policy.unwrap_or(&none);
        undecided(policy)?;
        if let Some(reason) = breakers::undecided(cluster).or(outliers::undecided(cluster)) {
            return Err(reason.to_owned());
        }
        let grpc = is_grpc(request);
        let grpc_ms = joined(request, "grpc-timeout").and_then(|it| timeout::grpc(it.as_bytes()));
        let lasts = action.max_stream_duration.as_ref();
        let route_ms = timeout::route(
            timeout::Route {
                timeout_ms: milliseconds(action.timeout.as_ref()),
                max_grpc_ms: milliseconds(action.max_grpc_timeout.as_ref()),
                grpc_offset_ms: milliseconds(action.grpc_timeout_offset.as_ref()),
                lasts: lasts.is_some(),
            },
            timeout::Asked {
                timeout_ms: asked.timeout_ms,
                grpc,
                grpc_ms,
            },
        );
        let of_manager = manager.common_http_protocol_options.as_ref();
        let duration = timeout::Duration {
            most_ms: lasts
                .and_then(|it| milliseconds(it.max_stream_duration.as_ref()))
                .or_else(|| milliseconds(of_manager?.max_stream_duration.as_ref())),
            header_max_ms: lasts.and_then(|it| milliseconds(it.grpc_timeout_header_max.as_ref())),
            header_offset_ms: lasts
                .and_then(|it| milliseconds(it.grpc_timeout_header_offset.as_ref())),
        };
        let back_off = policy.retry_back_off.as_ref();
        let limited = policy.rate_limited_retry_back_off.as_ref();
        let mut conditions = retry::conditions(&policy.retry_on)
            | retry::grpc_conditions(&policy.retry_on)
            | asked.conditions;
        let wanted = &policy.retriable_request_headers;
        if !wanted.is_empty()
            && !wanted
                .iter()
                .any(|it| values::of_request(it, request, seen))
        {
            conditions = 0;
        }
        let mut status_codes = asked.status_codes;
        status_codes.extend(
            policy
                .retriable_status_codes
                .iter()
                .map(|code| u64::from(*code)),
        );
        let selections = u64::try_from(policy.host_selection_retry_max_attempts).unwrap_or(0);
        Ok(Self {
            cluster: cluster.name.clone(),
            grpc,
            route_ms,
            idle_ms: milliseconds(action.idle_timeout.as_ref())
                .or(milliseconds(manager.stream_idle_timeout.as_ref()))
                .unwrap_or(timeout::IDLE_MS),
            duration_ms: timeout::duration(duration, grpc_ms),
            per_try_ms: timeout::per_try(
                milliseconds(policy.per_try_timeout.as_ref()),
                asked.per_try_ms,
                route_ms,
            ),
            per_try_idle_ms: milliseconds(policy.per_try_idle_timeout.as_ref()).unwrap_or(0),
            timeout_status: if asked.other_status { 204 } else { 504 },
            http2: http2(cluster)?,
            high: action.priority == RoutingPriority::High as i32,
            conditions,
            retries: asked
                .retries
                .unwrap_or_else(|| policy.num_retries.as_ref().map_or(1, |it| it.value)),
            intervals: Intervals::new(
                back_off.and_then(|it| milliseconds(it.base_interval.as_ref())),
                back_off.and_then(|it| milliseconds(it.max_interval.as_ref())),
            ),
            selections: (!policy.retry_host_predicate.is_empty()).then_some(selections.max(1)),
            status_codes,
            headers: policy.retriable_headers.clone(),
            joins_lines: seen.joins_lines,
            header_names: asked.header_names,
            reset_headers: limited
                .map(|it| it.reset_headers.clone())
                .unwrap_or_default(),
            reset_max_ms: limited
                .and_then(|it| milliseconds(it.max_interval.as_ref()))
                .unwrap_or(retry::RESET_MAX_MS),
            authority: authority(action, entry, seen),
            named: VecDeque::new(),
        })
    }

    /// What a response says to the conditions.
    pub fn facts(&self, response: &Response) -> retry::Response {
        let first = |name| response.values(name).first().copied();
        retry::Response {
            status: response.status,
            grpc_status: first("grpc-status").and_then(header_value::number),
            rate_limited: first("x-envoy-ratelimited").is_some(),
            listed: self.status_codes.contains(&u64::from(response.status)),
            header: self.header_names.iter().any(|name| first(name).is_some())
                || self
                    .headers
                    .iter()
                    .any(|it| values::of_response(it, response, self.joins_lines)),
        }
    }

    /// How long a response asks to wait, in milliseconds: the first of the headers that are looked
    /// at and says so.
    pub fn asks_to_wait(&self, response: &Response, now_us: u64, random: u64) -> Option<u64> {
        self.reset_headers.iter().find_map(|header| {
            let number = header_value::number(response.values(&header.name).first()?)?;
            let seconds = if header.format == ResetHeaderFormat::UnixTimestamp as i32 {
                number.checked_sub(now_us / 1_000_000)?
            } else {
                number
            };
            retry::rate_limited(seconds.checked_mul(1000)?, self.reset_max_ms, random)
        })
    }

    /// The status of a reply that Envoy makes itself.
    pub fn status(&self, status: u32) -> u32 {
        if self.grpc { 200 } else { status }
    }
}

/// What the authority is where the endpoint's host name decides it and there is none.
fn authority(action: &RouteAction, entry: Option<u64>, seen: &Seen) -> Option<String> {
    match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) if auto.value => {
            let of_cluster = entry.and_then(|entry| of_weighted_cluster(action, entry));
            Some(of_cluster.unwrap_or(&seen.authority).to_owned())
        }
        _ => None,
    }
}

/// `Cluster.connect_timeout`, in milliseconds.
pub fn connect_ms(cluster: &ClusterConfig) -> u64 {
    milliseconds(cluster.connect_timeout.as_ref()).unwrap_or(timeout::CONNECT_MS)
}

fn milliseconds(duration: Option<&Duration>) -> Option<u64> {
    let duration = duration?;
    let whole = u64::try_from(duration.seconds)
        .unwrap_or(0)
        .saturating_mul(1000);
    let part = u64::try_from(duration.nanos).unwrap_or(0) / 1_000_000;
    Some(whole.saturating_add(part))
}

fn http2(cluster: &ClusterConfig) -> Result<bool, String> {
    let Some(any) = cluster
        .typed_extension_protocol_options
        .get(PROTOCOL_OPTIONS)
    else {
        return Ok(cluster.http2_protocol_options.is_some());
    };
    let Ok(options) = HttpProtocolOptions::decode(any.value.as_slice()) else {
        return Err(format!("{PROTOCOL_OPTIONS} cannot be read"));
    };
    if options.retry_policy.is_some() {
        return Err("the cluster's own retry_policy is not decided".to_owned());
    }
    if options.outlier_detection.is_some() {
        return Err("what counts as an error of an endpoint is not decided".to_owned());
    }
    let explicit = match options.upstream_protocol_options {
        // What comes is HTTP/1.1.
        None | Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => return Ok(false),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => explicit,
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {
            return Err("a protocol that endpoints choose is not decided".to_owned());
        }
    };
    match explicit.protocol_config {
        Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(true),
        Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
            Err("HTTP/3 to endpoints is not decided".to_owned())
        }
        Some(ProtocolConfig::HttpProtocolOptions(_)) | None => Ok(false),
    }
}

fn undecided(policy: &RetryPolicy) -> Result<(), String> {
    if policy.retry_priority.is_some() {
        return Err("retry_priority is not decided".to_owned());
    }
    if !policy.retry_options_predicates.is_empty() {
        return Err("retry_options_predicates are not decided".to_owned());
    }
    if policy.refresh_cluster_on_retry {
        return Err("refresh_cluster_on_retry is not decided".to_owned());
    }
    for predicate in &policy.retry_host_predicate {
        let known = match &predicate.config_type {
            Some(retry_host_predicate::ConfigType::TypedConfig(any)) => {
                any.type_url.rsplit('/').next() == Some(PREVIOUS_HOSTS)
            }
            None => false,
        };
        if !known {
            return Err(format!(
                "the retry_host_predicate {} is not decided",
                predicate.name
            ));
        }
    }
    let mut matchers = policy
        .retriable_headers
        .iter()
        .chain(&policy.retriable_request_headers);
    if matchers.any(values::is_regex) {
        return Err("regexes in a retry policy are not decided".to_owned());
    }
    Ok(())
}
