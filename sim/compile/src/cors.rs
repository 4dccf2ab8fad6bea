//! Compiles the policies of the CORS filter.

use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use twinmesh_model::layout::{cors, fraction, pair};
use twinmesh_xds::http_filter::{FilterKind, Level};

use crate::compiler::Compiler;
use crate::fault::share;
use crate::http_filter::Left;
use crate::matcher as compile_matcher;

impl Compiler<'_> {
    /// A level's policy, with what the levels above say where it says nothing.
    pub fn cors_of_level(
        &self,
        policy: &CorsPolicy,
        configuration: usize,
        level: Level,
        name: &str,
    ) -> CorsPolicy {
        let above = match level {
            Level::RouteConfiguration => Vec::new(),
            Level::VirtualHost(_) => vec![Level::RouteConfiguration],
            Level::Route(host, _) => vec![Level::VirtualHost(host), Level::RouteConfiguration],
            Level::Entry(host, route, _) => vec![
                Level::Route(host, route),
                Level::VirtualHost(host),
                Level::RouteConfiguration,
            ],
        };
        let mut whole = policy.clone();
        let said = self.snapshot.route_configurations.get(configuration);
        let of_level = |level| said?.per_filters.get(&level)?.get(name)?.config.as_ref();
        for config in above.into_iter().filter_map(of_level) {
            let FilterKind::Cors(Some(policy)) = config else {
                continue;
            };
            if whole.allow_origin_string_match.is_empty() {
                whole
                    .allow_origin_string_match
                    .clone_from(&policy.allow_origin_string_match);
            }
            let forwards = &mut whole.forward_not_matching_preflights;
            *forwards = forwards.or(policy.forward_not_matching_preflights);
        }
        whole
    }

    /// The offset of a policy's record.
    ///
    /// # Errors
    /// An origin's matcher is not decided, or does not fit.
    pub fn cors(&mut self, policy: &CorsPolicy) -> Result<u64, Left> {
        let slot = |compiler: &mut Self, name: &str| {
            let slot = compiler.names.header(name);
            slot.map_err(|over| over.of_a_part())
        };
        let origin = slot(self, "origin")?;
        let method = slot(self, "access-control-request-method")?;
        let mut flags = 0;
        if policy
            .forward_not_matching_preflights
            .is_none_or(|it| it.value)
        {
            flags |= cors::FORWARDS_OTHERS;
        }
        let mut records = Vec::new();
        for matcher in &policy.allow_origin_string_match {
            if self.takes_asterisk(matcher) {
                flags |= cors::ALL;
            }
            let (arena, names) = (&mut self.arena, &mut self.names);
            let compiled = compile_matcher::text(arena, names, self.snapshot, matcher, origin);
            let compiled = compiled.map_err(|over| over.of_a_part())?;
            let compiled = compiled.ok_or("a matcher of an origin is not decided")?;
            records.push(compiled.record);
        }
        let count = records.len() as u64;
        let origins = self.arena.words(records.as_flattened());
        let enabled = match &policy.filter_enabled {
            Some(enabled) => share(enabled.default_value.as_ref()),
            None => fraction::ALL,
        };
        Ok(self
            .arena
            .words(&[pair(origins, count), enabled, pair(origin, method), flags]))
    }

    /// Whether a matcher accepts an asterisk: to Envoy it then lists every origin.
    fn takes_asterisk(&self, matcher: &StringMatcher) -> bool {
        match &matcher.match_pattern {
            Some(MatchPattern::Exact(text)) => text == "*",
            Some(
                MatchPattern::Prefix(text)
                | MatchPattern::Suffix(text)
                | MatchPattern::Contains(text),
            ) => text.is_empty() || text == "*",
            Some(MatchPattern::SafeRegex(regex)) => {
                let dfa = self.snapshot.regexes.get(&regex.regex);
                matches!(dfa, Some(Ok(dfa)) if dfa.is_match(b"*"))
            }
            Some(MatchPattern::Custom(_)) | None => false,
        }
    }
}
