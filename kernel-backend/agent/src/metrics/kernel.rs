//! What the kernel did, as its maps have it.

use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use twinmesh_kernel_backend::datapath::shape::{FIRST_RANGE, RANGES};

use crate::datapath::Splice;
use crate::live::Live;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    listener: String,
    route_config: String,
    virtual_host: String,
    route: String,
    cluster: String,
    endpoint: String,
    status: String,
    path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RangeLabels {
    cluster: String,
    le: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// Why requests went to the agent, in the order of `shape::handed`.
const HANDED: [&str; 8] = [
    "busy",
    "head_not_decided",
    "no_endpoint",
    "not_plain",
    "framing",
    "no_idle_upstream",
    "pipelined",
    "unread",
];

/// Registers all of it.
pub fn register(registry: &mut Registry, splice: &Splice, live: &Live) {
    let requests = Family::<Labels, Counter>::default();
    let bytes = Family::<Labels, Counter>::default();
    let durations = Family::<RangeLabels, Counter>::default();
    for (names, total) in splice.collect(live) {
        let labels = Labels {
            path: super::path(names.path()),
            listener: names.listener,
            route_config: names.route_config,
            virtual_host: names.virtual_host,
            route: names.route,
            cluster: names.cluster,
            endpoint: names.endpoint,
            status: names
                .status
                .map(|status| status.to_string())
                .unwrap_or_default(),
        };
        requests.get_or_create_owned(&labels).inc_by(total.requests);
        bytes.get_or_create_owned(&labels).inc_by(total.bytes);
        let mut sum = 0;
        for (range, count) in (0..).zip(total.ranges) {
            sum += count;
            let le = if range + 1 == RANGES {
                "+Inf".to_owned()
            } else {
                ((1_u64 << (FIRST_RANGE + range)) as f64 / 1e6).to_string()
            };
            let labels = RangeLabels {
                cluster: labels.cluster.clone(),
                le,
            };
            durations.get_or_create_owned(&labels).inc_by(sum);
        }
    }
    registry.register(
        "kernel_requests",
        "Requests that the kernel spliced, and connections whose endpoint it chose, by decision",
        requests,
    );
    registry.register("kernel_response_bytes", "Bytes of spliced responses", bytes);
    registry.register(
        "kernel_duration_seconds_bucket",
        "Spliced requests by their duration at most, from head to the end of the response",
        durations,
    );
    let handed = Family::<Why, Counter>::default();
    for (reason, count) in HANDED.into_iter().zip(splice.datapath.maps().handed()) {
        handed.get_or_create_owned(&Why { reason }).inc_by(count);
    }
    registry.register(
        "kernel_handed_over",
        "Requests on tracked connections that went to the agent, by reason",
        handed,
    );
    let counter = |value: u64| {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        counter
    };
    let counts = &splice.counts;
    registry.register(
        "kernel_relayed",
        "Spliced responses that went through the agent from some byte on",
        counter(counts.relayed.load(Relaxed)),
    );
    registry.register(
        "kernel_replayed",
        "Requests that were sent again as their upstream connection had died",
        counter(counts.replayed.load(Relaxed)),
    );
    registry.register(
        "kernel_adopted",
        "Connections of an earlier agent that this one goes on with",
        counter(counts.adopted.load(Relaxed)),
    );
    registry.register(
        "kernel_cut_off",
        "Connections of an earlier agent that ended with it, as it was in the middle of a request",
        counter(counts.cut_off.load(Relaxed)),
    );
    if let Some(keep) = &splice.keep {
        let gauge = |value: u64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            gauge
        };
        registry.register(
            "kernel_holder",
            "Whether a holder keeps sockets over the agent's end",
            gauge(keep.keeper.is_there().into()),
        );
        registry.register(
            "kernel_held_sockets",
            "Sockets that the holder keeps",
            gauge(keep.keeper.count()),
        );
    }
    registry.register(
        "kernel_events_lost",
        "Events and counts that found no room",
        counter(splice.datapath.maps().lost()),
    );
    let fill = Family::<What, Gauge>::default();
    for (what, count) in splice.fill() {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        fill.get_or_create_owned(&What { what }).set(count);
    }
    registry.register(
        "kernel_records",
        "Records of the kernel's maps in use",
        fill,
    );
}
