//! Circuit breakers with a threshold of 0, which refuse every request, whatever else is under way.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use twinmesh_engine::Outcome;

use crate::connect;
use crate::header_values::forget_response;
use crate::run::Run;

/// What a request may not even begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// To wait for a connection: `max_pending_requests`.
    Waiting,
    /// To be sent on one: `max_requests`.
    Sending,
}

/// What the cluster refuses to all requests of a routing priority. The first waits for a connection
/// before it is sent.
fn refused(cluster: &ClusterConfig, priority: i32) -> Option<Refused> {
    let high = priority == RoutingPriority::High as i32;
    let mut thresholds = cluster
        .circuit_breakers
        .iter()
        .flat_map(|it| &it.thresholds);
    let own = thresholds.find(|it| (it.priority == RoutingPriority::High as i32) == high)?;
    let is_none = |most: Option<u32>| most == Some(0);
    if is_none(own.max_pending_requests.map(|most| most.value)) {
        // Connections that are opened beforehand may take requests without waiting.
        return cluster
            .preconnect_policy
            .is_none()
            .then_some(Refused::Waiting);
    }
    is_none(own.max_requests.map(|most| most.value)).then_some(Refused::Sending)
}

impl Run<'_> {
    /// Refuses what the cluster's circuit breakers never let through.
    pub(crate) fn at_breakers(&mut self) {
        if self.answer.decision.outcome != Outcome::Forward {
            return;
        }
        let Some(forwarded) = &self.forwarded else {
            return;
        };
        let Some(refused) = refused(forwarded.cluster, forwarded.action.priority) else {
            return;
        };
        // Where Envoy ends a tunnel it sends no request to the endpoint, but opens a connection.
        let is_terminated = connect::is_terminated(forwarded.action, &forwarded.message);
        if is_terminated && refused == Refused::Sending {
            return;
        }
        let status = forwarded.message.local_reply_status(503);
        let decision = self.decision();
        if refused == Refused::Waiting {
            (decision.endpoint, decision.priority, decision.locality) = (None, None, None);
        }
        // Nothing is sent, and it is not the endpoint's response that the client gets.
        (decision.path, decision.authority) = (None, None);
        decision.request_headers = None;
        forget_response(decision);
        decision.status = Some(status);
        self.end(
            Outcome::Overflow,
            "the cluster's circuit breakers let no request through",
        );
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::{
        CircuitBreakers, circuit_breakers::Thresholds, cluster::PreconnectPolicy,
    };
    use envoy_types::pb::google::protobuf::UInt32Value;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none(None, None, false, [None, None])]
    #[case::requests(Some(0), None, false, [Some(Refused::Sending), None])]
    #[case::pending(None, Some(0), false, [Some(Refused::Waiting), None])]
    #[case::both(Some(0), Some(0), false, [Some(Refused::Waiting), None])]
    #[case::more(Some(1), Some(1), false, [None, None])]
    #[case::high(Some(0), None, true, [None, Some(Refused::Sending)])]
    fn thresholds(
        #[case] requests: Option<u32>,
        #[case] pending: Option<u32>,
        #[case] high: bool,
        #[case] expected: [Option<Refused>; 2],
    ) {
        let wrapped = |value: Option<u32>| value.map(|value| UInt32Value { value });
        let thresholds = Thresholds {
            priority: i32::from(high),
            max_requests: wrapped(requests),
            max_pending_requests: wrapped(pending),
            ..Thresholds::default()
        };
        let mut cluster = ClusterConfig {
            circuit_breakers: Some(CircuitBreakers {
                thresholds: vec![thresholds],
                ..CircuitBreakers::default()
            }),
            ..ClusterConfig::default()
        };
        assert_eq!([0, 1].map(|it| refused(&cluster, it)), expected);
        cluster.preconnect_policy = Some(PreconnectPolicy::default());
        let waits = |it: Option<Refused>| it.filter(|it| *it != Refused::Waiting);
        assert_eq!([0, 1].map(|it| refused(&cluster, it)), expected.map(waits));
    }
}
