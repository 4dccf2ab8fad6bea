//! What a connection manager leaves of a request's headers, of which clusters and endpoints may be chosen.

use std::borrow::Cow;

use envoy_types::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::{Decision, Request};
use twinmesh_xds::{RouteConfiguration, Snapshot, Terminal};

const PORT: &str = "x-forwarded-port";

/// A request's headers behind the connection manager.
pub(super) struct Managed<'a> {
    /// The request, with the headers that are written and without those that are taken off.
    pub(super) request: Cow<'a, Request>,
    /// The names of the headers that only a request from inside keeps, in lower case, where some may be.
    pub(super) uncertain: Vec<String>,
}

/// The request as the connection manager that the decision went through leaves it.
pub(super) fn managed<'a>(
    snapshot: &Snapshot,
    request: &'a Request,
    decision: &Decision,
) -> Managed<'a> {
    let unchanged = Managed {
        request: Cow::Borrowed(request),
        uncertain: Vec::new(),
    };
    let Some((manager, table)) = manager_of(snapshot, decision) else {
        return unchanged;
    };
    let internal = table.map_or(&[][..], |table| &table.config.internal_only_headers);
    let internal: Vec<String> = internal.iter().map(|it| it.to_ascii_lowercase()).collect();
    let options = manager.common_http_protocol_options.as_ref();
    let underscores = options.map_or(0, |options| options.headers_with_underscores_action);
    let drops = underscores == HeadersWithUnderscoresAction::DropHeader as i32;
    let writes = manager.append_x_forwarded_port || !manager.via.is_empty();
    if internal.is_empty() && !drops && !writes {
        return unchanged;
    }
    let ranges = manager.internal_address_config.as_ref();
    let may_be_inside = ranges.is_some_and(|ranges| !ranges.cidr_ranges.is_empty());
    let mut left = request.clone();
    left.headers.retain(|(name, _)| {
        let name = name.to_ascii_lowercase();
        !(drops && name.contains('_') || !may_be_inside && internal.contains(&name))
    });
    let at_edge = manager.use_remote_address.is_some_and(|own| own.value)
        && manager.xff_num_trusted_hops == 0;
    let is_port = |name: &str| name.eq_ignore_ascii_case(PORT);
    let has_port = left.headers.iter().any(|(name, _)| is_port(name));
    if manager.append_x_forwarded_port
        && (at_edge || !has_port)
        && !internal.iter().any(|it| it == PORT)
    {
        left.headers.retain(|(name, _)| !is_port(name));
        // It counts that it is a number.
        left.headers.push((PORT.to_owned(), "1".to_owned()));
    }
    if !manager.via.is_empty() {
        left.headers.push(("via".to_owned(), manager.via.clone()));
    }
    Managed {
        request: Cow::Owned(left),
        uncertain: match may_be_inside {
            true => internal,
            false => Vec::new(),
        },
    }
}

fn manager_of<'s>(
    snapshot: &'s Snapshot,
    decision: &Decision,
) -> Option<(&'s HttpConnectionManager, Option<&'s RouteConfiguration>)> {
    let mut listeners = snapshot.listeners.iter();
    let listener = listeners.find(|it| Some(&it.name) == decision.listener.as_ref())?;
    let named = decision.filter_chain.as_deref().unwrap_or_default();
    let mut chains = listener.all_filter_chains();
    match &chains.find(|chain| chain.config.name == named)?.terminal {
        Terminal::Http {
            manager,
            route_configuration,
        } => {
            let all = &snapshot.route_configurations;
            let table = route_configuration.and_then(|index| all.get(index));
            Some((manager, table))
        }
        _ => None,
    }
}
