//! What became of the decisions that the shadow made again.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::shadow::{Counts, Skipped};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// Registers all of it.
pub fn register(registry: &mut Registry, counts: &Counts) {
    let counter = |value: u64| {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        counter
    };
    registry.register(
        "shadow_compared",
        "Live decisions that were made again and compared",
        counter(counts.compared()),
    );
    registry.register(
        "shadow_differing",
        "Live decisions that differ from those made again",
        counter(counts.differing()),
    );
    let skipped = Family::<Why, Counter>::default();
    for why in Skipped::ALL {
        let reason = why.name();
        let count = skipped.get_or_create_owned(&Why { reason });
        count.inc_by(counts.skipped(why));
    }
    registry.register(
        "shadow_skipped",
        "Live decisions of the shadow's share that were not compared, by reason",
        skipped,
    );
}
