//! Outlier detection in the clusters that there are.

use twinmesh_engine::stream::{Action, StreamId, Timer};
use twinmesh_engine::update::{identity, places};

use super::cluster_of;
use super::outliers::{self, Said};
use crate::engine::Spec;

impl Spec {
    /// Watches the clusters of the snapshot that say so.
    pub(super) fn detect(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let snapshot = self.snapshot();
        let following = &mut self.following;
        let mut before = std::mem::take(&mut following.detectors);
        for cluster in &snapshot.clusters {
            let Some(config) = &cluster.config.outlier_detection else {
                continue;
            };
            let replaced = following.replaced.get(&cluster.name).copied().unwrap_or(0);
            let watched = (cluster.name.clone(), replaced);
            let known = before.iter().find(|(_, (other, _))| *other == watched);
            let known = known.map(|(number, _)| *number);
            let (number, mut detector) = match known {
                Some(number) => (number, before.remove(&number).map(|(_, it)| it)),
                None => {
                    following.numbers += 1;
                    let at = now_us.saturating_add(outliers::interval_us(config));
                    actions.push(Action::Set(Timer::Outliers(following.numbers), at));
                    (following.numbers, None)
                }
            };
            let endpoints = places(cluster.load_assignment.as_ref())
                .filter_map(|(_, _, group, endpoint)| identity(group, endpoint));
            let detector = detector.get_or_insert_default();
            detector.update(endpoints.collect());
            let detector = std::mem::take(detector);
            following.detectors.insert(number, (watched, detector));
        }
    }

    /// An interval of outlier detection is over.
    pub(super) fn interval(&mut self, number: usize, now: u64, actions: &mut Vec<Action>) {
        let snapshot = self.snapshot();
        let Some(((name, _), detector)) = self.following.detectors.get_mut(&number) else {
            return;
        };
        let Some(config) = cluster_of(&snapshot, name).outlier_detection else {
            return;
        };
        let (returning, ejected) = detector.interval(&config, now);
        for (all, ejected) in [(returning, false), (ejected, true)] {
            actions.extend(all.into_iter().map(|identity| Action::Health {
                cluster: name.clone(),
                identity,
                ejected,
            }));
        }
        let at = now.saturating_add(outliers::interval_us(&config));
        actions.push(Action::Set(Timer::Outliers(number), at));
    }

    /// Tells outlier detection what came of the stream's attempt.
    pub(super) fn tell(&mut self, id: StreamId, said: Said, now: u64, actions: &mut Vec<Action>) {
        let snapshot = self.snapshot();
        let Some(stream) = self.following.streams.get(&id) else {
            return;
        };
        let (Some(((name, replaced, _), _)), Some(known)) = (&stream.place, &stream.identity)
        else {
            return;
        };
        let watched = (name.clone(), *replaced);
        let Some(config) = cluster_of(&snapshot, name).outlier_detection else {
            return;
        };
        let mut detectors = self.following.detectors.values_mut();
        let Some((_, detector)) = detectors.find(|(other, _)| *other == watched) else {
            return;
        };
        if let Some(identity) = detector.said(&config, known, said, now) {
            actions.push(Action::Health {
                cluster: watched.0,
                identity,
                ejected: true,
            });
        }
    }
}
