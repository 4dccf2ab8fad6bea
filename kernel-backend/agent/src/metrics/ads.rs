//! How it stands with the management server.

use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use twinmesh_ads::{Kind, Status};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service: &'static str,
}

/// Registers all of it.
pub fn register(registry: &mut Registry, status: &Status) {
    let (acks, nacks) = (
        Family::<ServiceLabel, Counter>::default(),
        Family::<ServiceLabel, Counter>::default(),
    );
    for kind in Kind::ALL {
        let label = ServiceLabel {
            service: kind.service(),
        };
        acks.get_or_create_owned(&label).inc_by(status.acks(kind));
        nacks.get_or_create_owned(&label).inc_by(status.nacks(kind));
    }
    registry.register("xds_acks", "Responses that were accepted", acks);
    registry.register("xds_nacks", "Responses that were refused", nacks);
    let counter = |value: u64| {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        counter
    };
    registry.register(
        "xds_updates",
        "Policies that the management server's resources made",
        counter(status.updates()),
    );
    registry.register(
        "xds_reconnects",
        "Streams after the first",
        counter(status.reconnects()),
    );
    registry.register(
        "xds_failures",
        "Streams that failed, and servers that were not reached",
        counter(status.failures()),
    );
    registry.register(
        "xds_absent",
        "Resources that never came",
        counter(status.absent()),
    );
    let connected: Gauge = Gauge::default();
    connected.set(i64::from(status.is_connected()));
    registry.register("xds_connected", "A stream is up", connected);
    if let Some(last) = status.last_update() {
        let age: Gauge = Gauge::default();
        let seconds = SystemTime::now().duration_since(last).unwrap_or_default();
        age.set(i64::try_from(seconds.as_secs()).unwrap_or(i64::MAX));
        registry.register("xds_age_seconds", "Seconds since the last policy came", age);
    }
}
