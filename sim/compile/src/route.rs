//! Compiles the routes of a virtual host: matchers, actions, and where each is filed.

mod userspace;

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch, WeightedCluster, route::Action, route_action::ClusterSpecifier,
    route_match::PathSpecifier,
};
use twinmesh_model::layout::{RECORD, matcher, of, pair, route, weighted_clusters};
use twinmesh_model::route::MATCHERS;
use twinmesh_re2::{DEFAULT_STATE_CAP, Dfa};
use twinmesh_xds::{Unsupported, uri_template};

use crate::compiler::Compiler;
use crate::criteria::criteria;
use crate::path::{Candidate, Paths};
use crate::plain;
use crate::{CapacityError, capacity, matcher as compile_matcher};
use userspace::{Share, by_hash, share};

/// A path matcher that no path passes: its text would be longer than any.
const NEVER: [u64; 4] = [matcher::CONNECT, 0, 0, pair(0, of::PATH)];

/// Fields of a route that the tables do not hold, each with the reason.
type Left = Vec<(String, String)>;

/// Adds the header that names a cluster, where the connection manager writes or removes it.
fn check_cluster_header(name: &str, path: String, left: &mut Left) {
    if !compile_matcher::arrives_as_sent(name) {
        let reason = format!("`{name}` is a header that the connection manager writes or removes");
        left.push((path, reason));
    }
}

/// What of a route's match is not decided although the reader knows it.
fn not_decided(matched: &RouteMatch) -> Left {
    let mut left = Left::new();
    for (index, header) in matched.headers.iter().enumerate() {
        if !compile_matcher::is_matched(&header.name) {
            left.push((
                format!("match.headers[{index}].name"),
                format!(
                    "`{}` is a header that the connection manager writes or removes",
                    header.name
                ),
            ));
        }
    }
    left
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
    /// Compiles a route and files it. What does not fit of its match is left out, so that it takes
    /// more requests than it should, and these are undecided.
    pub fn route(
        &mut self,
        routes: &mut Routes,
        place: (usize, usize, usize),
        config: &Route,
        unsupported: Option<&Unsupported>,
    ) {
        let number = self.routes.len() as u64 / (RECORD / 8);
        let empty = RouteMatch::default();
        let matched = config.r#match.as_ref().unwrap_or(&empty);
        let mut matchers = Vec::new();
        let mut left = not_decided(matched);
        // Envoy asks the share of requests first: of a route that takes none, no matcher counts.
        let taken = !matches!(share(matched), Share::None);
        if matched.grpc.is_some() && taken {
            match compile_matcher::grpc(&mut self.arena, &mut self.names) {
                Ok(matcher) => matchers.push(matcher),
                Err(over) => left.push(("match.grpc".to_owned(), over.of_a_part())),
            }
        }
        for (index, header) in matched.headers.iter().enumerate().filter(|_| taken) {
            match compile_matcher::header(
                &mut self.arena,
                &mut self.names,
                self.snapshot,
                header,
                index,
                self.snapshot.profile,
            ) {
                Ok(matcher) => matchers.extend(matcher),
                Err(over) => left.push((format!("match.headers[{index}]"), over.of_a_part())),
            }
        }
        let parameters = matched.query_parameters.iter().enumerate();
        for (index, parameter) in parameters.filter(|_| taken) {
            routes.query = true;
            match compile_matcher::query_parameter(
                &mut self.arena,
                &mut self.names,
                self.snapshot,
                parameter,
                index,
            ) {
                Ok(matcher) => matchers.extend(matcher),
                Err(over) => {
                    left.push((format!("match.query_parameters[{index}]"), over.of_a_part()));
                }
            }
        }
        let metadata = matched.dynamic_metadata.iter().enumerate();
        for (index, _) in metadata.filter(|(_, matcher)| taken && !matcher.invert) {
            match compile_matcher::no_metadata(&mut self.names, index) {
                Ok(matcher) => matchers.push(matcher),
                Err(over) => {
                    left.push((format!("match.dynamic_metadata[{index}]"), over.of_a_part()));
                }
            }
        }
        let beside = if taken {
            self.userspace_matchers(matched, &mut left)
        } else {
            Vec::new()
        };
        if taken
            && matches!(
                matched.path_specifier,
                Some(PathSpecifier::ConnectMatcher(_))
            )
        {
            let why = "CONNECT requests are decided in userspace only";
            self.route_in_userspace(place, "match.connect_matcher", why);
        }
        let mut records: Vec<[u64; 4]> = matchers.iter().map(|matcher| matcher.record).collect();
        let path = self.file(routes, matched, number, &mut records, &mut left);
        if let Err(over) = capacity::check("matchers", records.len() as u64, MATCHERS) {
            left.push(("match".to_owned(), over.of_a_part()));
            records.truncate(MATCHERS as usize);
        }
        let offset = if records.is_empty() {
            0
        } else {
            self.arena.words(records.as_flattened())
        };
        let mut action = self.action(config, unsupported, &mut left);
        let more = self.more(routes, place, config, &beside, &mut action, &mut left);
        self.rewrites(config, &mut left);
        // What the reader has reported needs no second line; what never takes a request, none.
        if unsupported.is_none() && taken {
            let mut first = None;
            for (path, reason) in left {
                let found = self.route_undecided(place, &path, reason);
                first.get_or_insert(found);
            }
            if let Some(unsupported) = first {
                action = pair(route::UNSUPPORTED, self.reason(&unsupported));
            }
        }
        let forwarding = if self.plain_host && plain::route(config) {
            route::PLAIN
        } else {
            0
        };
        self.routes.extend_from_slice(&[
            pair(offset, records.len() as u64),
            action,
            pair(forwarding, more),
            path,
        ]);
        routes.candidates.push(Candidate {
            unconditional: records.is_empty()
                && beside.is_empty()
                && !matches!(share(matched), Share::Some(..)),
            keys: matchers.iter().filter_map(|matcher| matcher.key).collect(),
        });
    }

    /// Files a route under its path; the offset of its path matcher, for traces. What the class
    /// does not decide is added to the route's matchers.
    fn file(
        &mut self,
        routes: &mut Routes,
        matched: &RouteMatch,
        number: u64,
        records: &mut Vec<[u64; 4]>,
        left: &mut Left,
    ) -> u64 {
        if matches!(share(matched), Share::None) {
            let mut record = NEVER;
            record[3] = pair(0, of::FRACTION);
            return self.arena.record(record);
        }
        let sensitive = matched
            .case_sensitive
            .as_ref()
            .is_none_or(|value| value.value);
        let mut text = |field: &str, kind, text: &str| {
            self.file_text(routes, number, kind, text.as_bytes(), sensitive)
                .unwrap_or_else(|(over, record)| {
                    left.push((format!("match.{field}"), over.of_a_part()));
                    record
                })
        };
        let record = match &matched.path_specifier {
            Some(PathSpecifier::Prefix(prefix)) => return text("prefix", matcher::PREFIX, prefix),
            Some(PathSpecifier::Path(path)) => return text("path", matcher::EQUAL, path),
            Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
                return text("path_separated_prefix", matcher::SEPARATED_PREFIX, prefix);
            }
            Some(PathSpecifier::SafeRegex(regex)) => {
                return self.file_regex(routes, number, &regex.regex, records);
            }
            Some(PathSpecifier::PathMatchPolicy(policy)) => {
                let template = uri_template::template(policy);
                let regex = template.and_then(|template| uri_template::regex(&template).ok());
                return self.file_regex(routes, number, &regex.unwrap_or_default(), records);
            }
            // Only CONNECT requests pass it, which look at no other path matcher.
            Some(PathSpecifier::ConnectMatcher(_)) => NEVER,
            _ => {
                routes.paths.prefix(b"", number);
                return 0;
            }
        };
        self.arena.record(record)
    }

    /// Files a route under what all paths of a regex start with; the offset of its path matcher, or
    /// 0 where the regex has no table. The route is asked for the rest of it.
    fn file_regex(
        &mut self,
        routes: &mut Routes,
        number: u64,
        regex: &str,
        records: &mut Vec<[u64; 4]>,
    ) -> u64 {
        let Some(Ok(dfa)) = self.snapshot.regexes.get(regex) else {
            routes.paths.prefix(b"", number);
            return 0;
        };
        routes
            .paths
            .prefix(&dfa.prefix(capacity::TEXT as usize), number);
        let slot = self.names.path_without_query();
        let record = compile_matcher::path_dfa(self.arena.dfa(dfa), slot);
        records.push(record);
        self.arena.record(record)
    }

    /// Files a route under a text; the offset of its path matcher. What is too long is filed as
    /// the prefix of it that fits, which takes all that it should take and more; the error says
    /// so, and has that offset.
    fn file_text(
        &mut self,
        routes: &mut Routes,
        number: u64,
        kind: u64,
        text: &[u8],
        sensitive: bool,
    ) -> Result<u64, (CapacityError, u64)> {
        let over = capacity::text(text).err();
        let (kind, text) = match over {
            None => (kind, text),
            Some(_) => (
                matcher::PREFIX,
                text.get(..capacity::TEXT as usize).unwrap_or_default(),
            ),
        };
        let record = if sensitive {
            compile_matcher::path_text(&mut self.arena, kind, text)
        } else {
            match without_case(kind, text) {
                Ok(dfa) => compile_matcher::path_dfa(self.arena.dfa(&dfa), 0),
                Err(too_large) => {
                    routes.paths.prefix(b"", number);
                    return Err((over.unwrap_or(too_large), 0));
                }
            }
        };
        let (paths, key) = if sensitive {
            (&mut routes.paths, text.to_vec())
        } else {
            (&mut routes.lower_paths, text.to_ascii_lowercase())
        };
        match kind {
            matcher::EQUAL => paths.exact(&key, number),
            matcher::SEPARATED_PREFIX => {
                paths.exact(&key, number);
                paths.prefix(&[&key[..], b"/"].concat(), number);
            }
            _ => paths.prefix(&key, number),
        }
        let offset = self.arena.record(record);
        match over {
            None => Ok(offset),
            Some(over) => Err((over, offset)),
        }
    }

    /// The word that says what a route does.
    fn action(
        &mut self,
        config: &Route,
        unsupported: Option<&Unsupported>,
        left: &mut Left,
    ) -> u64 {
        if let Some(unsupported) = unsupported {
            return pair(route::UNSUPPORTED, self.reason(unsupported));
        }
        match &config.action {
            Some(Action::Route(action)) => match &action.cluster_specifier {
                Some(ClusterSpecifier::Cluster(name)) => {
                    let criteria = criteria(action.metadata_match.as_ref(), None);
                    pair(route::CLUSTER, self.cluster_for(name, &criteria))
                }
                Some(ClusterSpecifier::ClusterHeader(header)) => {
                    check_cluster_header(header, "route.cluster_header".to_owned(), left);
                    let criteria = criteria(action.metadata_match.as_ref(), None);
                    match self.cluster_by_header(header, &criteria) {
                        Ok(record) => pair(route::CLUSTER, record),
                        Err(over) => {
                            left.push(("route.cluster_header".to_owned(), over.of_a_part()));
                            0
                        }
                    }
                }
                Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                    let (slot, over) = self.random_value_slot(weighted);
                    if let Some(over) = over {
                        left.push((
                            "route.weighted_clusters.header_name".to_owned(),
                            over.of_a_part(),
                        ));
                    }
                    pair(
                        route::WEIGHTED_CLUSTERS,
                        self.weighted_clusters(action, weighted, slot, left),
                    )
                }
                _ => self.undecided(
                    "route.cluster_specifier",
                    "the way the cluster is chosen is not decided",
                ),
            },
            Some(Action::Redirect(_)) => pair(route::REDIRECT, 0),
            Some(Action::DirectResponse(_)) => pair(route::DIRECT_RESPONSE, 0),
            _ => self.undecided("action", "the route's action is not decided"),
        }
    }

    fn undecided(&mut self, path: &str, reason: &str) -> u64 {
        let unsupported = Unsupported {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        pair(route::UNSUPPORTED, self.reason(&unsupported))
    }

    /// The slot, plus one, of the header whose value takes the random number's place; 0 where
    /// there is none. Beside it, why the header has no slot.
    fn random_value_slot(&mut self, config: &WeightedCluster) -> (u64, Option<CapacityError>) {
        use envoy_types::pb::envoy::config::route::v3::weighted_cluster::RandomValueSpecifier;
        match &config.random_value_specifier {
            Some(RandomValueSpecifier::HeaderName(name)) if !name.is_empty() => {
                match self.names.header(name) {
                    Ok(slot) => (slot + 1, None),
                    Err(over) => (0, Some(over)),
                }
            }
            _ if by_hash(config) => (weighted_clusters::BY_HASH, None),
            _ => (0, None),
        }
    }

    /// The block of a route's weighted clusters; those of weight 0 are left out.
    fn weighted_clusters(
        &mut self,
        action: &RouteAction,
        config: &WeightedCluster,
        slot: u64,
        left: &mut Left,
    ) -> u64 {
        let mut entries = Vec::new();
        let mut total = 0;
        for (index, cluster) in config.clusters.iter().enumerate() {
            let weight = cluster
                .weight
                .as_ref()
                .map_or(0, |weight| u64::from(weight.value));
            if weight != 0 {
                total += weight;
                let criteria = criteria(
                    action.metadata_match.as_ref(),
                    cluster.metadata_match.as_ref(),
                );
                let record = if cluster.name.is_empty() {
                    let path = format!("route.weighted_clusters.clusters[{index}].cluster_header");
                    check_cluster_header(&cluster.cluster_header, path, left);
                    self.cluster_by_header(&cluster.cluster_header, &criteria)
                        .unwrap_or_else(|over| {
                            let path =
                                format!("route.weighted_clusters.clusters[{index}].cluster_header");
                            left.push((path, over.of_a_part()));
                            0
                        })
                } else {
                    self.cluster_for(&cluster.name, &criteria)
                };
                entries.push([total, pair(record, index as u64)]);
            }
        }
        let block = self.arena.words(&[total, pair(entries.len() as u64, slot)]);
        self.arena.words(entries.as_flattened());
        debug_assert_eq!(weighted_clusters::ENTRIES, 16);
        block
    }

    /// A route that sends everything to a TCP proxy's cluster; the offset of its record.
    pub fn tcp_route(
        &mut self,
        config: &envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy,
    ) -> u64 {
        use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
        let action = match &config.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => {
                let criteria = criteria(config.metadata_match.as_ref(), None);
                pair(route::CLUSTER, self.cluster_for(name, &criteria))
            }
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let mut entries = Vec::new();
                let mut total = 0;
                for (index, cluster) in weighted.clusters.iter().enumerate() {
                    total += u64::from(cluster.weight);
                    let criteria = criteria(
                        config.metadata_match.as_ref(),
                        cluster.metadata_match.as_ref(),
                    );
                    let record = self.cluster_for(&cluster.name, &criteria);
                    entries.push([total, pair(record, index as u64)]);
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
        let more = if self.hashes && !config.hash_policy.is_empty() {
            let policies = self.tcp_hash_policies(&config.hash_policy);
            self.arena.record([action, 0, policies, 0])
        } else {
            0
        };
        self.arena.record([0, action, pair(0, more), 0])
    }
}

/// A path matcher with `case_sensitive: false`, for traces.
fn without_case(kind: u64, text: &[u8]) -> Result<Dfa, CapacityError> {
    match kind {
        matcher::EQUAL => Ok(Dfa::equals(text, true)?),
        matcher::PREFIX => Ok(Dfa::starts_with(text, true)?),
        _ => {
            let mut pattern = String::from("(?i)");
            for byte in text {
                pattern.push_str(&format!("\\x{byte:02x}"));
            }
            pattern.push_str("(?:/\\C*)?");
            Dfa::new(&pattern, DEFAULT_STATE_CAP).map_err(|_| capacity::dfa())
        }
    }
}
