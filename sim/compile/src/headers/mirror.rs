//! Which clusters get a copy of a request.

use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, route::Action, route_action::RequestMirrorPolicy,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use prost::Message as _;
use twinmesh_engine::{Decision, MirrorLevel, Step};

use super::entries::Entries;
use super::{NotKnown, Taken};

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

impl Taken<'_> {
    /// Whether a policy may take a cluster's name from a header.
    pub(super) fn names_mirrors_by_header(&self) -> bool {
        let of_action = match &self.route.action {
            Some(Action::Route(action)) => action.request_mirror_policies.as_slice(),
            _ => return false,
        };
        let of_cluster = self.of_cluster();
        let all = [
            of_action,
            &self.host.request_mirror_policies,
            &self.table.request_mirror_policies,
            &of_cluster,
        ];
        all.into_iter().flatten().any(|it| it.cluster.is_empty())
    }

    /// Whether some policy may copy what the route forwards.
    pub(super) fn has_mirrors(&self, action: &RouteAction) -> bool {
        let of_cluster = self.of_cluster();
        let all = [
            &action.request_mirror_policies,
            &self.host.request_mirror_policies,
            &self.table.request_mirror_policies,
            &of_cluster,
        ];
        all.into_iter().any(|policies| !policies.is_empty())
    }

    /// The policies of the cluster.
    fn of_cluster(&self) -> Vec<RequestMirrorPolicy> {
        let cluster = self
            .cluster
            .and_then(|index| self.compiled.snapshot.clusters.get(index));
        let any = cluster.and_then(|it| it.config.typed_extension_protocol_options.get(OPTIONS));
        let options = any.and_then(|any| HttpProtocolOptions::decode(any.value.as_slice()).ok());
        options.map_or_else(Vec::new, |it| it.request_mirror_policies)
    }

    /// Notes the clusters that get a copy, which the policies of one level name: the first of
    /// cluster, route, virtual host and route configuration that has some.
    pub(super) fn mirror(
        &self,
        action: &RouteAction,
        request: &Entries,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> Result<(), NotKnown> {
        let snapshot = &self.compiled.snapshot;
        let of_cluster = self.of_cluster();
        let levels: [(MirrorLevel, &[RequestMirrorPolicy]); 4] = [
            (MirrorLevel::Cluster, &of_cluster),
            (MirrorLevel::Route, &action.request_mirror_policies),
            (MirrorLevel::VirtualHost, &self.host.request_mirror_policies),
            (
                MirrorLevel::RouteConfiguration,
                &self.table.request_mirror_policies,
            ),
        ];
        let mut levels = levels.into_iter();
        let Some((level, policies)) = levels.find(|(_, policies)| !policies.is_empty()) else {
            return Ok(());
        };
        for (index, policy) in policies.iter().enumerate() {
            if !self.is_in(policy) {
                continue;
            }
            let name = match policy.cluster.as_str() {
                "" => {
                    let named = request.first(&policy.cluster_header);
                    named.ok_or(NotKnown)?.unwrap_or_default()
                }
                name => name.to_owned(),
            };
            if snapshot.cluster(&name).is_some() {
                let policy = index;
                steps.push(Step::Mirror { level, policy });
                decision.mirrors.push(name);
            }
        }
        Ok(())
    }

    /// Whether the policy's share has the request's number.
    fn is_in(&self, policy: &RequestMirrorPolicy) -> bool {
        let Some(fraction) = &policy.runtime_fraction else {
            return true;
        };
        let Some(share) = &fraction.default_value else {
            return false;
        };
        let of = match DenominatorType::try_from(share.denominator) {
            Ok(DenominatorType::TenThousand) => 10_000,
            Ok(DenominatorType::Million) => 1_000_000,
            _ => 100,
        };
        self.random % of < u64::from(share.numerator)
    }
}
