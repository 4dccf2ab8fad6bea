//! Requests for listeners and their filter chains, each verified by the engine.

use twinmesh_engine::{Outcome, Request};
use twinmesh_xds::Terminal;

use super::candidates::Maker;
use super::connections;
use super::draft::Draft;
use super::hosts;
use super::items::Item;
use crate::failure::Failure;
use crate::reach::{Goal, Way, criteria};

impl Maker<'_, '_> {
    pub(super) fn listener(&mut self, listener: usize) -> Result<(), Failure> {
        let snapshot = self.solver.snapshot;
        let Some(resource) = snapshot.listeners.get(listener) else {
            return Ok(());
        };
        let mut chains: Vec<Option<usize>> = (0..resource.filter_chains.len()).map(Some).collect();
        chains.extend(resource.default_filter_chain.as_ref().map(|_| None));
        for chain in chains {
            let wanted = Goal::FilterChain { listener, chain };
            let path = match chain {
                Some(index) => format!("filter_chains[{index}]"),
                None => "default_filter_chain".to_owned(),
            };
            let id = format!("{}/{path}", resource.name);
            let mut taken = None;
            for mut request in connections::to_chain(snapshot, listener, chain) {
                request.authority = Some(self.first_host(listener, chain));
                let answer = self.solver.decide(&request)?;
                if self
                    .solver
                    .passed(&request, &answer)
                    .goals
                    .contains(&wanted)
                {
                    taken = Some((request, answer));
                    break;
                }
            }
            let Some((request, answer)) = taken else {
                continue;
            };
            self.add(format!("{id}: takes"), &request, &answer, Vec::new());
            let (mut request, mut way) = (request, Way::of(&answer));
            if answer.decision.outcome == Outcome::Unsupported && request.source.is_none() {
                // A filter may look at the ends of the connection.
                let mut known = request.clone();
                known.source = Some(connections::SOURCE);
                known
                    .destination
                    .get_or_insert(connections::bound(Some(resource)));
                let answer = self.solver.decide(&known)?;
                let there = Way::of(&answer);
                if (there.listener, there.chain) == (way.listener, way.chain)
                    && answer.decision.outcome != Outcome::Unsupported
                {
                    self.add(
                        format!("{id}: takes, between known ends"),
                        &known,
                        &answer,
                        Vec::new(),
                    );
                    (request, way) = (known, there);
                }
            }
            if way.closed.is_some()
                && let Some(found) = self.let_on(&Draft::new(request.clone()))?
            {
                // No network filter closes it.
                let id = format!("{id}: takes and lets on");
                self.add(id, &found.request, &found.answer, Vec::new());
                (request, way) = (found.request, Way::of(&found.answer));
            }
            self.bases.chain(listener, chain, &request);
            if let Some(configuration) = way.configuration {
                let way = (request.clone(), way);
                self.ways.entry(configuration).or_insert(way);
            }
            if let Some(chain) = chain {
                self.variations(listener, chain, &id, &request)?;
            }
        }
        Ok(())
    }

    /// A host that the filter chain's route configuration knows, so that its requests get far.
    pub(super) fn first_host(&self, listener: usize, chain: Option<usize>) -> String {
        let snapshot = self.solver.snapshot;
        let found = snapshot.listeners.get(listener).and_then(|it| match chain {
            Some(index) => it.filter_chains.get(index),
            None => it.default_filter_chain.as_ref(),
        });
        let configuration = match found.map(|chain| &chain.terminal) {
            Some(Terminal::Http {
                route_configuration: Some(index),
                ..
            }) => snapshot.route_configurations.get(*index),
            _ => None,
        };
        let domain = configuration
            .and_then(|it| it.config.virtual_hosts.first()?.domains.first())
            .map_or("*", String::as_str);
        let first = hosts::of(domain).into_iter().next();
        first.map_or_else(|| "host.test".to_owned(), |host| host.text)
    }

    fn variations(
        &mut self,
        listener: usize,
        chain: usize,
        id: &str,
        taken: &Request,
    ) -> Result<(), Failure> {
        let snapshot = self.solver.snapshot;
        let Some(resource) = snapshot.listeners.get(listener) else {
            return Ok(());
        };
        for varied in connections::variations(resource, chain, taken) {
            let answer = self.solver.decide(&varied.request)?;
            let way = Way::of(&answer);
            if way.listener != Some(listener) {
                self.made.missed += 1;
                continue;
            }
            let is_taken = way.chain == Some(twinmesh_engine::Chain::Index(chain));
            let out = twinmesh_spec::not_taken(resource, &varied.request);
            let config = resource.filter_chains.get(chain);
            let asked = config.and_then(|chain| chain.config.filter_chain_match.as_ref());
            let asked = asked.map(criteria).unwrap_or_default();
            // One that asks for nothing is out because another asks for what the connection has.
            let mut out = out.iter().filter(|out| asked.contains(&out.criterion));
            let out = out.find(|out| out.filter_chain == chain);
            let mut more = vec![self.boundary()];
            more.extend(out.map(|out| {
                Item::Goal(Goal::Criterion {
                    listener,
                    chain,
                    criterion: out.criterion,
                })
            }));
            let side = if is_taken { "takes" } else { "refuses" };
            let id = format!("{id} {side}, {}", varied.label);
            self.add(id, &varied.request, &answer, more);
        }
        Ok(())
    }
}
