//! Numbers that endpoints keep from one snapshot to the next, so that whoever counts their active
//! requests can go on counting while a snapshot takes another's place.

use std::collections::{HashMap, HashSet, VecDeque};

use envoy_types::pb::envoy::config::core::v3::Locality;
use twinmesh_engine::update::{Identity, keeps_state};
use twinmesh_xds::Cluster;

/// Snapshots after which a number that none of them uses may be given to another endpoint.
const REST: u64 = 3;

/// An endpoint: its cluster and which life of that, what it is known by, and how many alike come
/// before it.
type Key = (String, u64, Option<Identity>, u32);

/// An endpoint with its number, as whoever takes over from another process needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Numbered {
    /// Name of the cluster.
    pub cluster: String,
    /// What the endpoint is known by: its address, and its locality's region, zone and sub-zone.
    /// `None` where its address is of a kind that has no text.
    pub identity: Option<[String; 4]>,
    /// How many alike come before it.
    pub alike: u32,
    /// Its number.
    pub number: u64,
}

/// The numbers that are given out.
#[derive(Debug, Clone)]
pub struct Numbers {
    capacity: u64,
    next: u64,
    snapshot: u64,
    known: HashMap<Key, u64>,
    used: HashSet<u64>,
    alike: HashMap<Key, u32>,
    lives: HashMap<String, (u64, Cluster)>,
    resting: VecDeque<(u64, u64)>,
}

impl Numbers {
    /// Numbers below `capacity`.
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            next: 0,
            snapshot: 0,
            known: HashMap::new(),
            used: HashSet::new(),
            alike: HashMap::new(),
            lives: HashMap::new(),
            resting: VecDeque::new(),
        }
    }

    /// Goes on from the numbers that another process gave out: the endpoints keep theirs, and those
    /// that none of them has rest first. Clusters are taken to be the ones that they were. `given`:
    /// as [`Self::given`].
    pub fn resume(capacity: u64, given: u64, endpoints: &[Numbered]) -> Self {
        let mut numbers = Self::new(capacity);
        numbers.next = given.min(capacity);
        for endpoint in endpoints {
            if endpoint.number >= numbers.next {
                continue;
            }
            let identity = endpoint
                .identity
                .clone()
                .map(|[address, region, zone, sub_zone]| {
                    let locality = Locality {
                        region,
                        zone,
                        sub_zone,
                    };
                    (address, locality)
                });
            let key = (endpoint.cluster.clone(), 0, identity, endpoint.alike);
            numbers.known.insert(key, endpoint.number);
            numbers.used.insert(endpoint.number);
        }
        let rest = (0..numbers.next).filter(|number| !numbers.used.contains(number));
        numbers.resting = rest.map(|number| (number, 0)).collect();
        numbers
    }

    /// The endpoints that have numbers, in order.
    pub fn endpoints(&self) -> Vec<Numbered> {
        let all = self.known.iter();
        let mut list: Vec<Numbered> = all
            .map(|((cluster, _, identity, alike), &number)| Numbered {
                cluster: cluster.clone(),
                identity: identity.clone().map(|(address, locality)| {
                    [address, locality.region, locality.zone, locality.sub_zone]
                }),
                alike: *alike,
                number,
            })
            .collect();
        list.sort();
        list
    }

    /// How many numbers have been given out: those below.
    pub fn given(&self) -> u64 {
        self.next
    }

    /// How many there are.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The next snapshot begins.
    pub(crate) fn begin(&mut self) {
        self.snapshot += 1;
        self.used.clear();
        self.alike.clear();
    }

    /// The number of an endpoint. `None`: there are no more.
    pub(crate) fn of(&mut self, cluster: &Cluster, identity: Option<Identity>) -> Option<u64> {
        let life = match self.lives.get(&cluster.name) {
            Some((life, before)) if keeps_state(before, cluster) => *life,
            other => {
                let life = other.map_or(0, |(life, _)| life + 1);
                let config = Cluster {
                    name: cluster.name.clone(),
                    config: cluster.config.clone(),
                    ..Cluster::default()
                };
                self.lives.insert(cluster.name.clone(), (life, config));
                life
            }
        };
        let mut key = (cluster.name.clone(), life, identity, 0);
        let alike = self.alike.entry(key.clone()).or_default();
        key.3 = *alike;
        *alike += 1;
        if let Some(&number) = self.known.get(&key) {
            self.used.insert(number);
            return Some(number);
        }
        let number = self.unused()?;
        self.known.insert(key, number);
        self.used.insert(number);
        Some(number)
    }

    fn unused(&mut self) -> Option<u64> {
        if self.next < self.capacity {
            self.next += 1;
            return Some(self.next - 1);
        }
        let &(number, since) = self.resting.front()?;
        if self.snapshot < since + REST {
            return None;
        }
        self.resting.pop_front();
        Some(number)
    }

    /// The snapshot has all its numbers: those that it does not use rest before they are given out
    /// again.
    pub(crate) fn end(&mut self) {
        let (used, resting, now) = (&self.used, &mut self.resting, self.snapshot);
        self.known.retain(|_, &mut number| {
            let keep = used.contains(&number);
            if !keep {
                resting.push_back((number, now));
            }
            keep
        });
    }
}
