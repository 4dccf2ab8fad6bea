//! The endpoints that outlier detection watches.

use twinmesh_attempts::outlier_detection::{Endpoint, Policy, Result, Tally};
use twinmesh_engine::update::Identity;

/// A cluster that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Its name, and how often it was replaced.
    pub(crate) cluster: (String, u64),
    pub(crate) policy: Policy,
    /// In the order of the load assignment.
    endpoints: Vec<(Identity, Endpoint)>,
}

impl Watched {
    pub(crate) fn new(cluster: (String, u64), policy: Policy) -> Self {
        Self {
            cluster,
            policy,
            endpoints: Vec::new(),
        }
    }

    /// These are its endpoints; those that it had keep what is known of them.
    pub(crate) fn endpoints(&mut self, all: impl Iterator<Item = Identity>) {
        let before = std::mem::take(&mut self.endpoints);
        for identity in all {
            if self.endpoints.iter().any(|(known, _)| *known == identity) {
                continue;
            }
            let known = before.iter().find(|(known, _)| *known == identity);
            let state = known.map(|(_, state)| *state).unwrap_or_default();
            self.endpoints.push((identity, state));
        }
    }

    /// Ejects the endpoint at an index, where it may be; whether it is.
    fn eject(&mut self, index: usize, enforcing: u64, now_us: u64) -> bool {
        let ejected = self
            .endpoints
            .iter()
            .filter(|(_, it)| it.ejected_us.is_some());
        let may = self
            .policy
            .may_eject(ejected.count() as u64, self.endpoints.len() as u64);
        let Some((_, endpoint)) = self.endpoints.get_mut(index) else {
            return false;
        };
        let ejects = may && enforcing != 0 && endpoint.ejected_us.is_none();
        if ejects {
            self.policy.eject(endpoint, now_us);
        }
        ejects
    }

    /// What an endpoint has done; whether it is ejected for that.
    pub(crate) fn result(&mut self, identity: &Identity, result: Result, now_us: u64) -> bool {
        let mut endpoints = self.endpoints.iter();
        let Some(index) = endpoints.position(|(known, _)| known == identity) else {
            return false;
        };
        let policy = self.policy;
        let Some((_, endpoint)) = self.endpoints.get_mut(index) else {
            return false;
        };
        let causes = policy.result(endpoint, result);
        let mut ejected = false;
        for cause in causes.into_iter().flatten() {
            ejected |= self.eject(index, policy.enforcing(cause), now_us);
        }
        ejected
    }

    /// An interval is over: the endpoints that return, and those that are ejected.
    pub(crate) fn interval(&mut self, now_us: u64) -> (Vec<Identity>, Vec<Identity>) {
        let policy = self.policy;
        let mut returning = Vec::new();
        for (identity, endpoint) in &mut self.endpoints {
            if policy.returns(endpoint, now_us) {
                returning.push(identity.clone());
            }
        }
        let enforcing = (policy.enforcing_rate, policy.enforcing_percentage);
        let mut ejected = self.rates(|endpoint| endpoint.external, enforcing, now_us);
        if policy.split {
            let enforcing = (
                policy.enforcing_local_rate,
                policy.enforcing_local_percentage,
            );
            ejected.extend(self.rates(|endpoint| endpoint.local_origin, enforcing, now_us));
        }
        for (_, endpoint) in &mut self.endpoints {
            (endpoint.external, endpoint.local_origin) = (Tally::default(), Tally::default());
        }
        (returning, ejected)
    }

    fn rates(
        &mut self,
        tally: fn(&Endpoint) -> Tally,
        (enforcing_rate, enforcing_percentage): (u64, u64),
        now_us: u64,
    ) -> Vec<Identity> {
        let policy = self.policy;
        let rates = |volume: u64| -> Vec<(usize, f64)> {
            let endpoints = self.endpoints.iter().enumerate();
            let left = endpoints.filter(|(_, (_, endpoint))| endpoint.ejected_us.is_none());
            left.filter_map(|(index, (_, it))| Some((index, tally(it).rate(volume)?)))
                .collect()
        };
        let (for_rate, for_percentage) =
            (rates(policy.rate_volume), rates(policy.percentage_volume));
        let mut outliers: Vec<(usize, u64)> = Vec::new();
        if let Some(least) = policy.least_rate(for_rate.iter().map(|(_, rate)| *rate)) {
            let below = for_rate.iter().filter(|(_, rate)| *rate < least);
            outliers.extend(below.map(|(index, _)| (*index, enforcing_rate)));
        }
        let count = for_percentage.len() as u64;
        let often = for_percentage
            .iter()
            .filter(|(_, rate)| policy.fails_too_often(*rate, count));
        outliers.extend(often.map(|(index, _)| (*index, enforcing_percentage)));
        let mut ejected = Vec::new();
        for (index, enforcing) in outliers {
            if self.eject(index, enforcing, now_us) {
                ejected.extend(
                    self.endpoints
                        .get(index)
                        .map(|(identity, _)| identity.clone()),
                );
            }
        }
        ejected
    }
}
