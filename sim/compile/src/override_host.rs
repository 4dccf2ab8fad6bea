//! Compiles what names a cluster's endpoints before its balancer is asked, and asks again for another
//! attempt.

use std::collections::VecDeque;

use twinmesh_engine::Request;
use twinmesh_model::layout::{cluster, pair};
use twinmesh_xds::Cluster;

use crate::cluster::Endpoint;
use crate::compiler::Compiler;
use crate::endpoint_name::endpoint_name;
use crate::seen::Seen;
use crate::trie::Keys;
use crate::{CapacityError, Compiled, capacity};

impl Compiler<'_> {
    /// What a cluster's record has for its levels (`word`) and for what userspace does (`code`), the
    /// headers that name endpoints put before them, where it has such.
    ///
    /// # Errors
    /// A header or an address does not fit.
    pub fn overridden(
        &mut self,
        (index, cluster): (usize, &Cluster),
        priorities: &[Vec<Endpoint>],
        (word, code): (u64, u64),
    ) -> Result<(u64, u64), CapacityError> {
        let Some(headers) = &cluster.override_headers else {
            return Ok((word, code));
        };
        let (names, sources) = match self.override_hosts.get(&index) {
            Some(&known) => known,
            None => {
                let mut slots = Vec::with_capacity(headers.len());
                for header in headers {
                    slots.push(self.names.header(header)?);
                }
                let names = addresses(cluster, priorities)?;
                let names = self.arena.trie(&names);
                let sources = pair(self.arena.words(&slots), slots.len() as u64);
                self.override_hosts.insert(index, (names, sources));
                (names, sources)
            }
        };
        let block = self
            .arena
            .record([word, names, pair(index as u64, code), sources]);
        Ok((block, code | cluster::OVERRIDE_HOST))
    }
}

/// The addresses of a cluster's endpoints, each with its number plus one; of several endpoints with one
/// address, the first counts.
fn addresses(cluster: &Cluster, priorities: &[Vec<Endpoint>]) -> Result<Keys, CapacityError> {
    let mut endpoints: Vec<&Endpoint> = priorities.iter().flatten().collect();
    endpoints.sort_by_key(|endpoint| endpoint.place);
    let mut keys = Keys::default();
    for endpoint in endpoints {
        let (locality, position) = endpoint.place;
        let groups = cluster.load_assignment.as_ref().map(|it| &it.endpoints);
        let group = groups.and_then(|groups| groups.get(locality));
        let found = group.and_then(|group| group.lb_endpoints.get(position));
        let Some(address) = found.and_then(endpoint_name) else {
            continue;
        };
        capacity::text(address.as_bytes())?;
        let number = endpoint.number + 1;
        keys.exact.entry(address.into_bytes()).or_insert(number);
    }
    Ok(keys)
}

/// The addresses that the first values of these headers name, in order.
fn named(headers: &[String], request: &Request, seen: &Seen) -> Vec<String> {
    let mut named = Vec::new();
    for header in headers {
        let values = seen.values(request, header);
        let value = values.first().copied().unwrap_or_default();
        for part in value.split(',') {
            let part = part.trim_matches(|it: char| it == ' ' || ('\t'..='\r').contains(&it));
            if !part.is_empty() {
                named.push(part.to_owned());
            }
        }
    }
    named
}

impl Compiled {
    /// The addresses that a request names for attempts after the first, at a cluster of this name.
    pub(crate) fn named_for_retries(
        &self,
        cluster: &str,
        request: &Request,
        seen: &Seen,
    ) -> VecDeque<String> {
        let headers = self.snapshot.cluster(cluster);
        let headers = headers.and_then(|cluster| cluster.override_headers.as_ref());
        let mut left = headers
            .map_or_else(Vec::new, |headers| named(headers, request, seen))
            .into();
        self.next_named(cluster, &mut left);
        left
    }

    /// Takes addresses from the front until one is that of an endpoint of the cluster: its number.
    pub fn next_named(&self, cluster: &str, named: &mut VecDeque<String>) -> Option<u64> {
        let mut clusters = self.snapshot.clusters.iter();
        let index = clusters.position(|it| it.name == cluster)?;
        let assignment = self
            .snapshot
            .clusters
            .get(index)?
            .load_assignment
            .as_ref()?;
        while let Some(address) = named.pop_front() {
            let groups = assignment.endpoints.iter().enumerate();
            let mut places = groups.flat_map(|(locality, group)| {
                let endpoints = group.lb_endpoints.iter().enumerate();
                endpoints.map(move |(position, endpoint)| ((index, locality, position), endpoint))
            });
            let found =
                places.find(|(_, endpoint)| endpoint_name(endpoint).as_ref() == Some(&address));
            if let Some(number) = found.and_then(|(place, _)| self.numbers.get(&place)) {
                return Some(*number);
            }
        }
        None
    }
}
