//! Compiles the routes of a virtual host: matchers, actions, and where each is filed.

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteMatch, WeightedCluster, route::Action, route_action::ClusterSpecifier,
    route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use twinmesh_model::layout::{RECORD, matcher, pair, route, weighted_clusters};
use twinmesh_model::route::MATCHERS;
use twinmesh_re2::{DEFAULT_STATE_CAP, Dfa};
use twinmesh_xds::Unsupported;

use crate::compiler::Compiler;
use crate::path::{Candidate, Paths};
use crate::{CapacityError, capacity, matcher as compile_matcher};

/// A path matcher that no path passes: its text would be longer than any.
const NEVER: [u64; 4] = [
    matcher::EQUAL | 0xffff_ffff << 32,
    0,
    0,
    pair(0, compile_matcher::of::PATH),
];

/// How many of the requests `runtime_fraction` lets a route take.
enum Share {
    None,
    Some,
    All,
}

fn share(matched: &RouteMatch) -> Share {
    let Some(fraction) = &matched.runtime_fraction else {
        return Share::All;
    };
    let fraction = fraction.default_value.unwrap_or_default();
    let all = match DenominatorType::try_from(fraction.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        _ => 100,
    };
    match fraction.numerator {
        0 => Share::None,
        some if some < all => Share::Some,
        _ => Share::All,
    }
}

/// What of a route's match is not decided although the reader knows it.
fn not_decided(matched: &RouteMatch) -> Option<Unsupported> {
    if matches!(share(matched), Share::Some) {
        return Some(Unsupported {
            path: "match.runtime_fraction".to_owned(),
            reason: "a share of the requests is not decided".to_owned(),
        });
    }
    let header = matched
        .headers
        .iter()
        .find(|header| !compile_matcher::arrives_as_sent(&header.name))?;
    Some(Unsupported {
        path: "match.headers".to_owned(),
        reason: format!(
            "`{}` is a header that the connection manager writes or removes",
            header.name
        ),
    })
}

/// The routes of a virtual host while they are compiled.
#[derive(Debug, Default)]
pub struct Routes {
    /// Routes whose path matchers heed case.
    pub paths: Paths,
    /// Routes whose path matchers ignore it; keys are lower-case.
    pub lower_paths: Paths,
    /// One for each route.
    pub candidates: Vec<Candidate>,
    /// Some route has query parameter matchers.
    pub query: bool,
}

impl Compiler<'_> {
    /// Compiles a route and files it.
    ///
    /// # Errors
    /// Something does not fit.
    pub fn route(
        &mut self,
        routes: &mut Routes,
        config: &Route,
        unsupported: Option<&Unsupported>,
    ) -> Result<(), CapacityError> {
        let number = self.routes.len() as u64 / (RECORD / 8);
        let empty = RouteMatch::default();
        let matched = config.r#match.as_ref().unwrap_or(&empty);
        let mut matchers = Vec::new();
        // Envoy asks the share of requests first: of a route that takes none, no matcher counts.
        let taken = !matches!(share(matched), Share::None);
        for (index, header) in matched.headers.iter().enumerate().filter(|_| taken) {
            matchers.extend(compile_matcher::header(
                &mut self.arena,
                &mut self.names,
                self.snapshot,
                header,
                index,
            )?);
        }
        let parameters = matched.query_parameters.iter().enumerate();
        for (index, parameter) in parameters.filter(|_| taken) {
            routes.query = true;
            matchers.extend(compile_matcher::query_parameter(
                &mut self.arena,
                &mut self.names,
                self.snapshot,
                parameter,
                index,
            )?);
        }
        let mut records: Vec<[u64; 4]> = matchers.iter().map(|matcher| matcher.record).collect();
        let path = self.file(routes, matched, number, &mut records)?;
        capacity::check("matchers of one route", records.len() as u64, MATCHERS)?;
        let offset = if records.is_empty() {
            0
        } else {
            self.arena.words(records.as_flattened())
        };
        let own = not_decided(matched);
        let action = self.action(config, unsupported.or(own.as_ref()))?;

        self.routes
            .extend_from_slice(&[pair(offset, records.len() as u64), action, 0, path]);
        routes.candidates.push(Candidate {
            unconditional: records.is_empty(),
            keys: matchers.iter().filter_map(|matcher| matcher.key).collect(),
        });
        Ok(())
    }

    /// Files a route under its path; the offset of its path matcher, for traces. What the class
    /// does not decide is added to the route's matchers.
    fn file(
        &mut self,
        routes: &mut Routes,
        matched: &RouteMatch,
        number: u64,
        records: &mut Vec<[u64; 4]>,
    ) -> Result<u64, CapacityError> {
        if matches!(share(matched), Share::None) {
            return Ok(self.arena.record(NEVER));
        }
        let sensitive = matched
            .case_sensitive
            .as_ref()
            .is_none_or(|value| value.value);
        let key = |text: &str| {
            if sensitive {
                text.to_owned()
            } else {
                text.to_ascii_lowercase()
            }
            .into_bytes()
        };
        let record = match &matched.path_specifier {
            Some(PathSpecifier::Prefix(text)) => {
                let key = key(text);
                if sensitive {
                    &mut routes.paths
                } else {
                    &mut routes.lower_paths
                }
                .prefix(&key, number);
                if sensitive {
                    compile_matcher::path_text(&mut self.arena, matcher::PREFIX, text)?
                } else {
                    compile_matcher::path_dfa(
                        self.arena.dfa(&Dfa::starts_with(text.as_bytes(), true)?),
                        0,
                    )
                }
            }
            Some(PathSpecifier::Path(text)) => {
                let key = key(text);
                if sensitive {
                    &mut routes.paths
                } else {
                    &mut routes.lower_paths
                }
                .exact(&key, number);
                if sensitive {
                    compile_matcher::path_text(&mut self.arena, matcher::EQUAL, text)?
                } else {
                    compile_matcher::path_dfa(
                        self.arena.dfa(&Dfa::equals(text.as_bytes(), true)?),
                        0,
                    )
                }
            }
            Some(PathSpecifier::PathSeparatedPrefix(text)) => {
                let paths = if sensitive {
                    &mut routes.paths
                } else {
                    &mut routes.lower_paths
                };
                paths.exact(&key(text), number);
                paths.prefix(&key(&format!("{text}/")), number);
                if sensitive {
                    compile_matcher::path_text(&mut self.arena, matcher::SEPARATED_PREFIX, text)?
                } else {
                    compile_matcher::path_dfa(self.arena.dfa(&separated(text)?), 0)
                }
            }
            Some(PathSpecifier::SafeRegex(regex)) => {
                routes.paths.prefix(b"", number);
                match self.snapshot.regexes.get(&regex.regex) {
                    Some(Ok(dfa)) => {
                        let dfa = self.arena.dfa(dfa);
                        let slot = self.names.path_without_query();
                        records.push(compile_matcher::path_dfa(dfa, slot));
                        compile_matcher::path_dfa(dfa, slot)
                    }
                    _ => return Ok(0),
                }
            }
            // A request that is decided here never has the method CONNECT.
            Some(PathSpecifier::ConnectMatcher(_)) => NEVER,
            _ => {
                routes.paths.prefix(b"", number);
                return Ok(0);
            }
        };
        Ok(self.arena.record(record))
    }

    /// The word that says what a route does.
    fn action(
        &mut self,
        config: &Route,
        unsupported: Option<&Unsupported>,
    ) -> Result<u64, CapacityError> {
        if let Some(unsupported) = unsupported {
            return Ok(pair(route::UNSUPPORTED, self.reason(unsupported)));
        }
        Ok(match &config.action {
            Some(Action::Route(action)) => match &action.cluster_specifier {
                Some(ClusterSpecifier::Cluster(name)) => {
                    pair(route::CLUSTER, self.cluster_offset(name))
                }
                Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                    pair(route::WEIGHTED_CLUSTERS, self.weighted_clusters(weighted)?)
                }
                _ => self.undecided(
                    "route.cluster_specifier",
                    "the way the cluster is chosen is not decided",
                ),
            },
            Some(Action::Redirect(_)) => pair(route::REDIRECT, 0),
            Some(Action::DirectResponse(_)) => pair(route::DIRECT_RESPONSE, 0),
            _ => self.undecided("action", "the route's action is not decided"),
        })
    }

    fn undecided(&mut self, path: &str, reason: &str) -> u64 {
        let unsupported = Unsupported {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        pair(route::UNSUPPORTED, self.reason(&unsupported))
    }

    /// The block of a route's weighted clusters; those of weight 0 are left out.
    fn weighted_clusters(&mut self, config: &WeightedCluster) -> Result<u64, CapacityError> {
        use envoy_types::pb::envoy::config::route::v3::weighted_cluster::RandomValueSpecifier;
        let slot = match &config.random_value_specifier {
            Some(RandomValueSpecifier::HeaderName(name)) if !name.is_empty() => {
                self.names.header(name)? + 1
            }
            _ => 0,
        };
        let mut entries = Vec::new();
        let mut total = 0;
        for (index, cluster) in config.clusters.iter().enumerate() {
            let weight = cluster
                .weight
                .as_ref()
                .map_or(0, |weight| u64::from(weight.value));
            if weight != 0 {
                total += weight;
                entries.push([
                    total,
                    pair(self.cluster_offset(&cluster.name), index as u64),
                ]);
            }
        }
        let block = self.arena.words(&[total, pair(entries.len() as u64, slot)]);
        self.arena.words(entries.as_flattened());
        debug_assert_eq!(weighted_clusters::ENTRIES, 16);
        Ok(block)
    }

    /// A route that sends everything to a TCP proxy's cluster; the offset of its record.
    ///
    /// # Errors
    /// Something does not fit.
    pub fn tcp_route(
        &mut self,
        config: &envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy,
    ) -> Result<u64, CapacityError> {
        use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
        let action = match &config.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => {
                pair(route::CLUSTER, self.cluster_offset(name))
            }
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let mut entries = Vec::new();
                let mut total = 0;
                for (index, cluster) in weighted.clusters.iter().enumerate() {
                    total += u64::from(cluster.weight);
                    entries.push([
                        total,
                        pair(self.cluster_offset(&cluster.name), index as u64),
                    ]);
                }
                let block = self.arena.words(&[total, pair(entries.len() as u64, 0)]);
                self.arena.words(entries.as_flattened());
                pair(route::WEIGHTED_CLUSTERS, block)
            }
            _ => self.undecided(
                "cluster_specifier",
                "the way the cluster is chosen is not decided",
            ),
        };
        Ok(self.arena.record([0, action, 0, 0]))
    }
}

/// `path_separated_prefix` with `case_sensitive: false`, for traces.
fn separated(text: &str) -> Result<Dfa, CapacityError> {
    let mut pattern = String::from("(?i)");
    for byte in text.bytes() {
        pattern.push_str(&format!("\\x{byte:02x}"));
    }
    pattern.push_str("(?:/\\C*)?");
    Dfa::new(&pattern, DEFAULT_STATE_CAP).map_err(|_| capacity::dfa())
}
