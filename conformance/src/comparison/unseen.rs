//! What a recorder of a running Envoy cannot see: Envoy logs it nowhere.

use twinmesh_engine::{Decision, Outcome};

use super::{Field, Fields};

/// The fields of a recorded decision that say nothing, because the recorder could not see them:
///
/// - `cluster` of `no_cluster` where it is absent: `%UPSTREAM_CLUSTER%` is empty then, and a
///   cluster that was drawn by weight or named by a header cannot be filled in from the route.
/// - `route_config` of a head that the HTTP/1 codec refused (`reason` starts with `http1.`): the
///   log names the one of the connection manager, though no request got as far.
/// - the endpoint of `overflow` where it is absent: that of a request that is not sent may not have
///   been written down.
pub fn unseen(expected: &Decision, found: &Decision) -> Fields {
    let no_cluster = expected.outcome == Outcome::NoCluster && expected.cluster.is_none();
    let by_codec = expected.outcome == Outcome::BadRequest
        && found.route_config.is_none()
        && expected
            .reason
            .as_deref()
            .is_some_and(|reason| reason.starts_with("http1."));
    let no_endpoint = expected.outcome == Outcome::Overflow && expected.endpoint.is_none();
    [
        (no_cluster, Field::Cluster),
        (by_codec, Field::RouteConfig),
        (no_endpoint, Field::Endpoint),
        (no_endpoint, Field::Priority),
        (no_endpoint, Field::Locality),
    ]
    .into_iter()
    .filter(|(unseen, _)| *unseen)
    .map(|(_, field)| field)
    .collect()
}
