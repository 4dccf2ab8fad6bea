//! Minimal reproducers: a divergence with as little around it as it needs, as a case folder.

mod parts;
mod shrink;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinmesh_engine::{Decision, Engine, Outcome, endpoint, random};
use twinmesh_xds::Snapshot;

use crate::case::{self, Case, Settings};
use crate::comparison::{Field, Fields, Verdict};
use crate::failure::Failure;
use crate::judge::{Question, Run};

use parts::Part;
use shrink::Candidate;

/// Shrinks the divergence of the request at `index` and writes it as a case folder below `folder`;
/// returns that folder.
///
/// # Errors
/// It does not diverge when it is run again, it cannot be written, or what was written, read
/// again, does not diverge.
pub fn write(
    folder: &Path,
    case: &Case,
    question: &Question<'_>,
    index: usize,
    engine: &mut dyn Engine,
    reference: Option<&mut (dyn Engine + '_)>,
) -> Result<PathBuf, Failure> {
    let lost = || Failure("the divergence has gone when the case is run again".to_owned());
    let id = question
        .requests
        .get(index)
        .map(|request| request.id.clone())
        .ok_or_else(lost)?;
    let mut asked = Asked {
        question,
        engine,
        reference,
        id: &id,
        expected: None,
        lacking: Fields::default(),
        outcomes: None,
        last: None,
    };
    let mut candidate = Candidate {
        snapshot: named(&question.snapshot),
        requests: pinned(question),
        recorded: question.recorded.map(<[Decision]>::to_vec),
    };
    let mut kinds = Part::ALL.as_slice();
    // Where the engines agree with one another, it is the recording that they diverge from.
    let mut without_recording = candidate.clone();
    without_recording.recorded = None;
    if asked.reference.is_some() && asked.diverges(&without_recording) {
        candidate = without_recording;
    } else if candidate.recorded.is_some() {
        kinds = Part::BESIDE_A_RECORDING.as_slice();
        asked.expected = asked.decision(&candidate);
        asked.lacking = question
            .recorded
            .and_then(|recorded| recorded.get(index))
            .map(|recorded| lacking(&candidate.snapshot, recorded))
            .unwrap_or_default();
    }
    if !asked.diverges(&candidate) {
        return Err(lost());
    }
    asked.outcomes = asked.last;
    let shrunk = shrink::shrink(candidate, &id, kinds, &mut |candidate| {
        asked.diverges(candidate)
    });
    let name = format!("{}-{}-{id}", case.name, asked.engine.name());
    let target = case::free_folder(folder, &name)?;
    case::write(
        &target,
        &case::Content {
            snapshot: &shrunk.snapshot,
            requests: &shrunk.requests,
            recorded: shrunk.recorded.as_deref(),
            schedule: question.schedule,
            endpoints: question.endpoints,
        },
        &Settings::reproducer(case, &shrunk),
    )?;
    let written = Case::read(&target, &name, false)?;
    let again = Candidate {
        snapshot: Arc::unwrap_or_clone(written.snapshot),
        requests: written.requests,
        recorded: written.recorded,
    };
    if !asked.diverges(&again) {
        return Err(Failure(format!(
            "{} was written, and does not diverge when it is read again",
            target.display()
        )));
    }
    Ok(target)
}

struct Asked<'a, 'b> {
    question: &'a Question<'a>,
    engine: &'a mut dyn Engine,
    reference: Option<&'a mut (dyn Engine + 'b)>,
    id: &'a str,
    /// The engine's decision, which must stay where another server cannot be asked again.
    expected: Option<Decision>,
    /// What the recorded decision names and the snapshot lacks from the start: the rest must stay.
    lacking: Fields,
    /// The outcomes of the engine and of the reference, which must stay: another divergence is not
    /// the one that was found.
    outcomes: Option<Outcomes>,
    /// Those of the candidate asked about last.
    last: Option<Outcomes>,
}

type Outcomes = (Outcome, Option<Outcome>);

impl Asked<'_, '_> {
    fn diverges(&mut self, candidate: &Candidate) -> bool {
        self.try_diverges(candidate).unwrap_or(false)
    }

    /// `None` where an engine does not take the candidate.
    fn try_diverges(&mut self, candidate: &Candidate) -> Option<bool> {
        let question = self.question_of(candidate);
        let place = candidate.requests.iter().position(|it| it.id == self.id)?;
        let reference = match &mut self.reference {
            Some(reference) if candidate.recorded.is_none() => {
                Some(question.put(*reference, false).ok()?)
            }
            _ => None,
        };
        let run = question.put(self.engine, false).ok()?;
        let outcome = |run: &Run| Some(run.decisions.get(place)?.outcome);
        self.last = outcome(&run).map(|found| (found, reference.as_ref().and_then(outcome)));
        if self.outcomes.is_some() && self.outcomes != self.last {
            return Some(false);
        }
        if let Some(expected) = &self.expected {
            let compared = Fields::EVERY.without(Field::NEVER_COMPARED);
            let found = run.decisions.get(place)?;
            let recorded = candidate.recorded.as_ref()?.get(place)?;
            if !compared.differing(expected, found).is_empty()
                || lacking(&candidate.snapshot, recorded) != self.lacking
            {
                return Some(false);
            }
        }
        let verdicts = question
            .judge(&run, self.engine.strictness(), reference.as_ref())
            .ok()?;
        Some(matches!(verdicts.get(place)?, Verdict::Diverges(_)))
    }

    fn decision(&mut self, candidate: &Candidate) -> Option<Decision> {
        let question = self.question_of(candidate);
        let place = candidate.requests.iter().position(|it| it.id == self.id)?;
        let run = question.put(self.engine, false).ok()?;
        run.decisions.get(place).cloned()
    }

    fn question_of<'c>(&self, candidate: &'c Candidate) -> Question<'c>
    where
        Self: 'c,
    {
        Question {
            snapshot: Arc::new(candidate.snapshot.clone()),
            requests: &candidate.requests,
            recorded: candidate.recorded.as_deref(),
            comparison: self.question.comparison,
            schedule: self.question.schedule,
            endpoints: self.question.endpoints,
            seed: self.question.seed,
        }
    }
}

/// The requests, each with the random number that it had: in less traffic it would draw another.
fn pinned(question: &Question<'_>) -> Vec<twinmesh_engine::Request> {
    let mut requests = question.requests.to_vec();
    for (index, request) in (0..).zip(&mut requests) {
        request.random = request
            .random
            .or_else(|| Some(random::draw(question.seed, index)));
    }
    requests
}

/// The snapshot with a name for each route: decisions name an unnamed one by its index, which
/// changes when one before it is left out.
fn named(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    for configuration in &mut snapshot.route_configurations {
        // The routes of a matcher tree stay where they are.
        let hosts = configuration.config.virtual_hosts.iter_mut();
        for virtual_host in hosts.filter(|host| host.matcher.is_none()) {
            for (index, route) in virtual_host.routes.iter_mut().enumerate() {
                if route.name.is_empty() {
                    route.name = format!("#{index}");
                }
            }
        }
    }
    parts::mirror(&mut snapshot);
    snapshot
}

/// Whether a name is in the snapshot.
type There<'a> = &'a dyn Fn(&str) -> bool;

/// The fields of a recorded decision whose names are not in the snapshot.
fn lacking(snapshot: &Snapshot, recorded: &Decision) -> Fields {
    let configuration = recorded
        .route_config
        .as_deref()
        .and_then(|name| snapshot.route_configuration(name));
    let virtual_hosts = || {
        configuration
            .into_iter()
            .flat_map(|configuration| &configuration.config.virtual_hosts)
            .filter(|virtual_host| Some(&virtual_host.name) == recorded.virtual_host.as_ref())
    };
    let cluster = recorded
        .cluster
        .as_deref()
        .and_then(|name| snapshot.cluster(name));
    let listener = |name: &str| {
        let mut listeners = snapshot.listeners.iter();
        listeners.any(|listener| listener.name == name)
    };
    let filter_chain = |name: &str| {
        snapshot.listeners.iter().any(|listener| {
            let mut chains = listener.filter_chains.iter();
            chains.any(|chain| chain.config.name == name)
                || listener
                    .default_filter_chain
                    .as_ref()
                    .is_some_and(|chain| chain.config.name == name)
        })
    };
    let route = |name: &str| {
        virtual_hosts()
            .any(|virtual_host| virtual_host.routes.iter().any(|route| route.name == name))
    };
    let endpoint = |address: &str| {
        let assignment = cluster.and_then(|cluster| cluster.load_assignment.as_ref());
        assignment
            .into_iter()
            .flat_map(|assignment| &assignment.endpoints)
            .flat_map(|locality| &locality.lb_endpoints)
            .any(|candidate| endpoint::address(candidate).as_deref() == Some(address))
    };
    // A route to a cluster that is not there names it too.
    let no_cluster = recorded.outcome == Outcome::NoCluster;
    let fields: [(Field, &Option<String>, There<'_>); 7] = [
        (Field::Listener, &recorded.listener, &listener),
        (Field::FilterChain, &recorded.filter_chain, &filter_chain),
        (Field::RouteConfig, &recorded.route_config, &|_| {
            configuration.is_some()
        }),
        (Field::VirtualHost, &recorded.virtual_host, &|_| {
            virtual_hosts().next().is_some()
        }),
        (Field::Route, &recorded.route, &route),
        (Field::Cluster, &recorded.cluster, &|_| {
            no_cluster || cluster.is_some()
        }),
        (Field::Endpoint, &recorded.endpoint, &endpoint),
    ];
    fields
        .into_iter()
        .filter(|(_, name, there)| name.as_deref().is_some_and(|name| !there(name)))
        .map(|(field, ..)| field)
        .collect()
}

impl Settings {
    /// The settings of a case cut down from another.
    fn reproducer(case: &Case, shrunk: &Candidate) -> Self {
        let mut comparison = case.comparison.clone();
        let there = |id: &String| shrunk.requests.iter().any(|request| request.id == *id);
        comparison.distribution.retain_mut(|distribution| {
            if let Some(ids) = &mut distribution.ids {
                ids.retain(there);
            }
            distribution.ids.as_ref().is_none_or(|ids| !ids.is_empty())
        });
        Self {
            name: None,
            set: None,
            profile: case::named(shrunk.snapshot.profile),
            requests: Some(shrunk.requests.len()),
            notes: vec![format!("cut down from the case {}", case.name)],
            comparison,
            ..Self::default()
        }
    }
}
