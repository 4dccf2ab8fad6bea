//! Compiles the network RBAC filters of a filter chain, and says in names what they did.

use envoy_types::pb::envoy::config::rbac::v3::rbac::Action;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, UpstreamConnectMode,
};
use twinmesh_engine::{Decision, Outcome, Request, Step};
use twinmesh_model::layout::{condition, filter_step, high, low, outcome, pair, rbac, work};
use twinmesh_xds::network_rbac::Judge;
use twinmesh_xds::{Balancer, FilterChain, Terminal};

use crate::Compiled;
use crate::answer::Record;
use crate::compiler::Compiler;
use crate::http_filter::Of;
use crate::rbac::Next;

/// Whether a TCP proxy looks for an endpoint only once there is data.
pub fn waits_for_data(proxy: &TcpProxy) -> bool {
    proxy.upstream_connect_mode == UpstreamConnectMode::OnDownstreamData as i32
}

/// Whether an endpoint is chosen before network filters are asked.
pub fn chooses_first(chain: &FilterChain) -> bool {
    matches!(&chain.terminal, Terminal::Tcp(proxy) if !waits_for_data(proxy))
}

/// A step of a network filter; `None` for those of others.
pub fn network_step(step: u64) -> Option<Step> {
    let what = step >> 16 & 0xffff;
    [filter_step::NETWORK_PASSED, filter_step::NETWORK_CLOSED]
        .contains(&what)
        .then(|| Step::NetworkFilter {
            filter: (step & 0xffff) as usize,
            policy: (high(step) as usize).checked_sub(1),
            closes: what == filter_step::NETWORK_CLOSED,
        })
}

impl Compiled {
    /// Says what became of a connection whose network filters were asked; whether there were any to ask.
    pub(crate) fn asked_network_filters(
        &self,
        came: &Request,
        record: &Record<'_>,
        decision: &mut Decision,
    ) -> bool {
        let code = record.word(work::OUTCOME);
        let chain = self.chain_of(record);
        let Some(chain) = chain.filter(|chain| !chain.network_rbac.is_empty()) else {
            return true;
        };
        let index = self.index(record.word(work::CHOSEN_CLUSTER));
        let cluster = index.and_then(|index| self.snapshot.clusters.get(index));
        let to_destination = cluster.is_some_and(|it| it.balancer == Balancer::OriginalDestination);
        if to_destination && came.destination.is_none() {
            // The TCP proxy has closed it.
            if code == outcome::CLOSED {
                decision.outcome = Outcome::NoHealthyUpstream;
            }
            return false;
        }
        if [outcome::CLOSED, outcome::UNSUPPORTED].contains(&code) && chooses_first(chain) {
            decision.cluster = None;
            (decision.endpoint, decision.priority, decision.locality) = (None, None, None);
        }
        if code == outcome::CLOSED {
            let reason = record.word(work::REASON);
            let mut filters = chain.network_rbac.iter();
            let filter = filters.find(|it| it.index as u64 == high(reason));
            let name = filter.map_or("", |filter| filter.name.as_str());
            let policies = filter.map_or(&[][..], |filter| &filter.policies);
            let policy = low(reason).checked_sub(1);
            let why = match policy.and_then(|place| policies.get(place as usize)) {
                Some(policy) => format!("for its policy {policy:?}"),
                None => "since no policy of its lets it on".to_owned(),
            };
            decision.reason = Some(format!(
                "the network filter {name:?} closes the connection, {why}"
            ));
        }
        true
    }
}

impl Compiler<'_> {
    /// The filters' records, and how many they are. One that is not decided has a condition that says so.
    pub fn network_rbac(&mut self, place: (usize, Option<usize>), chain: &FilterChain) -> u64 {
        let mut records = Vec::with_capacity(chain.network_rbac.len());
        for filter in &chain.network_rbac {
            self.network_filter_in_userspace(place, filter.index);
            self.filters.of = Of::Connections;
            let judge = match &filter.judge {
                Judge::Rules(rules) => {
                    let passes = u64::from(rules.action != Action::Deny as i32);
                    self.rbac_rules(rules).map(|first| (first, passes))
                }
                Judge::Matcher(matcher) => {
                    let root = self.matcher_tree(matcher, 0);
                    root.map(|root| (root, rbac::TREE))
                }
            };
            self.filters.of = Of::Requests;
            let (first, passes) = match judge {
                Ok(judge) => judge,
                Err(left) => {
                    let found = self.network_filter_undecided(place, filter.index, left);
                    let reason = self.reason(&found);
                    let never = Next {
                        holds: condition::FALSE,
                        fails: condition::FALSE,
                    };
                    (self.condition(condition::UNDECIDED, reason, never), 0)
                }
            };
            records.push([filter.index as u64, pair(first, passes), 0, 0]);
        }
        let offset = self.arena.words(records.as_flattened());
        pair(offset, records.len() as u64)
    }
}
