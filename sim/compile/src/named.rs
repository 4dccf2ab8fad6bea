//! The cluster that a request's header names where there is no such cluster.

use envoy_types::pb::envoy::config::route::v3::{route::Action, route_action::ClusterSpecifier};
use twinmesh_engine::Request;
use twinmesh_model::layout::{low, virtual_host, work};

use crate::Compiled;
use crate::answer::Record;
use crate::seen::Seen;

impl Compiled {
    /// The name; `None` where the header is missing.
    pub(crate) fn named_cluster(
        &self,
        request: &Request,
        seen: &Seen,
        record: &Record<'_>,
    ) -> Option<String> {
        let configuration = self.index(record.word(work::CHOSEN_ROUTE_CONFIGURATION))?;
        let host = record.word(work::CHOSEN_VIRTUAL_HOST);
        let first = low(self.policy_word(host + virtual_host::ROUTES));
        let position = record.word(work::CHOSEN_ROUTE).checked_sub(1 + first)?;
        let configuration = self.snapshot.route_configurations.get(configuration)?;
        let hosts = &configuration.config.virtual_hosts;
        let routes = &hosts.get(self.index(host)?)?.routes;
        let Some(Action::Route(action)) = &routes.get(position as usize)?.action else {
            return None;
        };
        let header = match &action.cluster_specifier {
            Some(ClusterSpecifier::ClusterHeader(header)) => header,
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let entry = record.word(work::ENTRY).checked_sub(1)?;
                &weighted.clusters.get(entry as usize)?.cluster_header
            }
            _ => return None,
        };
        seen.first_value(request, header)
    }
}
