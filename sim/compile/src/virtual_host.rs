//! Compiles route configurations: domains, virtual hosts and their routes.

use envoy_types::pb::envoy::config::route::v3::{
    VirtualHost as VirtualHostConfig, virtual_host::TlsRequirementType,
};
use twinmesh_model::layout::{RECORD, pair, route_configuration, unsupported, virtual_host};
use twinmesh_xds::{RouteConfiguration, VirtualHost};

use crate::compiler::Compiler;
use crate::plain;
use crate::route::Routes;
use crate::trie::Keys;
use crate::{CapacityError, capacity};

impl Compiler<'_> {
    /// Compiles a route configuration; the offset of its record.
    ///
    /// # Errors
    /// Something does not fit.
    pub fn route_configuration(
        &mut self,
        index: usize,
        configuration: &RouteConfiguration,
    ) -> Result<u64, CapacityError> {
        let mut domains = Keys::default();
        let mut suffixes = Keys::default();
        let mut any = 0;
        let mut unsupported = configuration.unsupported.clone();
        let none = VirtualHost::default();
        let mut hosts = Vec::with_capacity(configuration.config.virtual_hosts.len());
        for (position, config) in configuration.config.virtual_hosts.iter().enumerate() {
            let marks = configuration.virtual_hosts.get(position).unwrap_or(&none);
            let first = self.routes.len() as u64 / (RECORD / 8);
            let offset = self.virtual_host(index, position, config, marks)?;
            hosts.push((offset, first));
            for (place, domain) in config.domains.iter().enumerate() {
                // Whatever a host that long leads to, it must not be another virtual host.
                if let Err(over) = capacity::text(domain.as_bytes()) {
                    let path = format!("virtual_hosts[{position}].domains[{place}]");
                    let found = self.configuration_undecided(index, &path, over.of_a_part());
                    unsupported.get_or_insert(found);
                    continue;
                }
                let domain = domain.to_ascii_lowercase();
                if domain == "*" {
                    any = offset;
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    suffixes
                        .prefix
                        .insert(suffix.bytes().rev().collect(), offset);
                } else if let Some(prefix) = domain.strip_suffix('*') {
                    domains.prefix.insert(prefix.as_bytes().to_vec(), offset);
                } else {
                    domains.exact.insert(domain.into_bytes(), offset);
                }
            }
        }
        let flags = if configuration.config.ignore_port_in_host_matching {
            route_configuration::IGNORE_PORT
        } else {
            0
        };
        let domains = pair(self.arena.trie(&domains), self.arena.trie(&suffixes));
        let reason = self.reason_or_none(unsupported.as_ref());
        let record = [domains, pair(any, flags), index as u64, reason];
        let offset = self.arena.record(record);
        self.place_per_filters(index, configuration, offset, &hosts);
        Ok(offset)
    }

    fn virtual_host(
        &mut self,
        configuration: usize,
        index: usize,
        config: &VirtualHostConfig,
        marks: &VirtualHost,
    ) -> Result<u64, CapacityError> {
        let first = self.routes.len() as u64 / (RECORD / 8);
        let mut routes = Routes::default();
        let configurations = &self.snapshot.route_configurations;
        self.plain_host = plain::virtual_host(config)
            && configurations
                .get(configuration)
                .is_some_and(|held| plain::route_configuration(&held.config));
        for (position, route) in config.routes.iter().enumerate() {
            let unsupported = marks.routes.get(position).and_then(Option::as_ref);
            let place = (configuration, index, position);
            self.route(&mut routes, place, route, unsupported);
        }
        capacity::check(
            "routes",
            first + config.routes.len() as u64,
            capacity::ROUTES,
        )?;
        let paths = routes.paths.write(
            &mut self.arena,
            first,
            &routes.candidates,
            &mut self.classes,
        );
        let lower = if routes.lower_paths.is_empty() {
            0
        } else {
            routes.lower_paths.write(
                &mut self.arena,
                first,
                &routes.candidates,
                &mut self.classes,
            )
        };
        let mut flags = if routes.query { virtual_host::QUERY } else { 0 };
        let mut reason = self.reason_or_none(marks.unsupported.as_ref());
        let secured = match TlsRequirementType::try_from(config.require_tls) {
            Ok(TlsRequirementType::All) => virtual_host::TLS_FOR_ALL,
            Ok(TlsRequirementType::ExternalOnly) => virtual_host::TLS_FOR_EXTERNAL,
            Ok(TlsRequirementType::None) | Err(_) => 0,
        };
        let mut tree = 0;
        let place = (configuration, index);
        if reason == 0
            && let Some(matcher) = &config.matcher
        {
            match self.matcher_tree(matcher, first) {
                Ok(root) => {
                    tree = root;
                    flags |= virtual_host::TREE;
                    let why = "routes in a matcher tree are found in userspace only";
                    self.virtual_host_in_userspace(place, "matcher", why);
                }
                Err(left) => {
                    let found = self.virtual_host_undecided(place, "matcher", left);
                    reason = self.reason(&found);
                }
            }
        }
        if reason == 0 && secured != 0 {
            flags |= secured;
            let why = "requests without TLS are redirected in userspace only";
            self.virtual_host_in_userspace(place, "require_tls", why);
        }
        if flags & !virtual_host::QUERY != 0 {
            reason = unsupported::USERSPACE;
        }
        Ok(self.arena.record([
            pair(paths, lower),
            pair(first, config.routes.len() as u64),
            pair(index as u64, flags),
            pair(reason, tree),
        ]))
    }
}
