//! Circuit breakers with a threshold of 0: no request gets through, whatever the balancer chose.

use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use twinmesh_engine::{Decision, Outcome, Request};
use twinmesh_model::layout::{low, virtual_host, work};

use crate::answer::Record;
use crate::connect;
use crate::{Compiled, Left, Managed};

impl Compiled {
    /// Makes an overflow of a decision that a request is forwarded, where the cluster's circuit
    /// breakers let none through. The arguments are those of [`Self::answer_managed`]. What the
    /// request holds of its endpoint is to be given back.
    ///
    /// Not for requests that are followed: they meet the breakers on their way.
    pub fn refuse(
        &self,
        came: &Request,
        managed: Option<&Managed>,
        left: &Left,
        decision: &mut Decision,
    ) {
        let record = Record { left };
        if decision.outcome != Outcome::Forward {
            return;
        }
        let Some((waits, sends)) = self.lets_through(came, &record) else {
            return;
        };
        if waits && sends {
            return;
        }
        let request = managed.map_or(came, |managed| &managed.request);
        let seen = self.seen(request, &record);
        decision.outcome = Outcome::Overflow;
        decision.status = Some(seen.status(503));
        decision.reason = Some("a circuit breaker of the cluster has a threshold of 0".to_owned());
        if !waits {
            // It would have waited for a connection, to whichever endpoint.
            decision.endpoint = None;
            decision.priority = None;
            decision.locality = None;
        }
        // Nothing is sent, and it is not the endpoint's response that the client gets.
        decision.path = None;
        decision.authority = None;
        decision.request_headers = None;
        let headers = decision.response_headers.iter_mut();
        for values in headers.flat_map(|headers| headers.values_mut()) {
            *values = None;
        }
    }

    /// Whether a request of this route may wait for a connection to the cluster, and may be sent on
    /// one.
    fn lets_through(&self, came: &Request, record: &Record<'_>) -> Option<(bool, bool)> {
        let configuration = self.index(record.word(work::CHOSEN_ROUTE_CONFIGURATION))?;
        let configuration = self.snapshot.route_configurations.get(configuration)?;
        let host_record = record.word(work::CHOSEN_VIRTUAL_HOST);
        let hosts = &configuration.config.virtual_hosts;
        let host = hosts.get(self.index(host_record)?)?;
        let first = low(self.policy_word(host_record + virtual_host::ROUTES));
        let position = record.word(work::CHOSEN_ROUTE).checked_sub(1 + first)?;
        let Some(Action::Route(action)) = &host.routes.get(position as usize)?.action else {
            return None;
        };
        let cluster = self.index(record.word(work::CHOSEN_CLUSTER))?;
        let cluster = &self.snapshot.clusters.get(cluster)?.config;
        let is_high = |priority: i32| priority == RoutingPriority::High as i32;
        let breakers = cluster.circuit_breakers.as_ref()?;
        let mut thresholds = breakers.thresholds.iter();
        let own = thresholds.find(|it| is_high(it.priority) == is_high(action.priority))?;
        let waits = own.max_pending_requests.is_none_or(|most| most.value > 0)
            || cluster.preconnect_policy.is_some();
        // Of a tunnel that Envoy ends nothing is sent but what comes out of it.
        let sends = own.max_requests.is_none_or(|most| most.value > 0)
            || connect::ends(action, came.method.trim_matches([' ', '\t']));
        // With connections that are opened beforehand nothing is said of those that wait.
        let sends = sends || own.max_pending_requests.is_some_and(|most| most.value == 0) && waits;
        Some((waits, sends))
    }
}
