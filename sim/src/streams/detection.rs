//! Outlier detection in the clusters that there are.

use std::collections::BTreeMap;

use twinmesh_attempts::outlier_detection::{self, Result as Came};
use twinmesh_compile::attempts;
use twinmesh_engine::Failure;
use twinmesh_engine::stream::{Action, StreamId, Timer};
use twinmesh_engine::update::{identity, places};

use super::Ending;
use crate::Sim;
use crate::outliers::Watched;

impl Sim {
    /// Watches the clusters of the snapshot that say so.
    pub(super) fn detect(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let snapshot = self.snapshot();
        let under = &mut self.under;
        let mut watched = BTreeMap::new();
        for cluster in &snapshot.clusters {
            let Some(policy) = attempts::outlier_policy(&cluster.config) else {
                continue;
            };
            let replaced = under.replaced.get(&cluster.name).copied().unwrap_or(0);
            let name = (cluster.name.clone(), replaced);
            let known = under.watched.iter().find(|(_, it)| it.cluster == name);
            let known = known.map(|(number, _)| *number);
            let goes_on = known.and_then(|number| Some((number, under.watched.remove(&number)?)));
            let (number, mut cluster_watched) = goes_on.unwrap_or_else(|| {
                under.numbers += 1;
                let first = now_us.saturating_add(policy.interval_ms.saturating_mul(1000));
                actions.push(Action::Set(Timer::Outliers(under.numbers), first));
                (under.numbers, Watched::new(name, policy))
            });
            let places = places(cluster.load_assignment.as_ref());
            cluster_watched.endpoints(places.filter_map(|(_, _, group, it)| identity(group, it)));
            watched.insert(number, cluster_watched);
        }
        under.watched = watched;
    }

    /// Tells outlier detection what came of an attempt.
    pub(super) fn watch(
        &mut self,
        id: StreamId,
        ending: Ending<'_>,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(stream) = self.under.streams.get(&id) else {
            return;
        };
        let (Some(plan), Some(pool), Some(known)) = (&stream.plan, &stream.pool, &stream.identity)
        else {
            return;
        };
        let results = match ending {
            Ending::Response(response) => {
                let grpc = plan.facts(response).grpc_status.filter(|_| plan.grpc);
                let status = grpc.map_or(response.status, outlier_detection::of_grpc);
                let cut = response.cut.then_some(Came::Local(503));
                [Some(Came::Status(status)), cut]
            }
            Ending::Failure(Failure::Overflow) => return,
            Ending::Failure(
                Failure::Timeout | Failure::PerTryTimeout | Failure::PerTryIdleTimeout,
            ) => [Some(Came::Local(plan.timeout_status)), None],
            Ending::Failure(_) => [Some(Came::Local(503)), None],
        };
        let (name, replaced, _) = &pool.cluster;
        let mut watched = self.under.watched.values_mut();
        let Some(watched) = watched.find(|it| it.cluster.0 == *name && it.cluster.1 == *replaced)
        else {
            return;
        };
        for result in results.into_iter().flatten() {
            if watched.result(known, result, now) {
                actions.push(Action::Health {
                    cluster: name.clone(),
                    identity: known.clone(),
                    ejected: true,
                });
            }
        }
    }

    /// Tells outlier detection that an attempt has a connection, which ejects nothing.
    pub(super) fn watch_connected(&mut self, id: StreamId, now: u64) {
        let Some(stream) = self.under.streams.get(&id) else {
            return;
        };
        let (Some(pool), Some(known)) = (&stream.pool, &stream.identity) else {
            return;
        };
        let (name, replaced, _) = &pool.cluster;
        let mut watched = self.under.watched.values_mut();
        if let Some(watched) = watched.find(|it| it.cluster.0 == *name && it.cluster.1 == *replaced)
        {
            watched.result(known, Came::Connected, now);
        }
    }

    /// An interval of outlier detection is over.
    pub(super) fn interval(&mut self, number: usize, now: u64, actions: &mut Vec<Action>) {
        let Some(watched) = self.under.watched.get_mut(&number) else {
            return;
        };
        let (returning, ejected) = watched.interval(now);
        let returning = returning.into_iter().map(|it| (it, false));
        let ejected = ejected.into_iter().map(|it| (it, true));
        for (identity, ejected) in returning.chain(ejected) {
            actions.push(Action::Health {
                cluster: watched.cluster.0.clone(),
                identity,
                ejected,
            });
        }
        let next = now.saturating_add(watched.policy.interval_ms.saturating_mul(1000));
        actions.push(Action::Set(Timer::Outliers(number), next));
    }
}
