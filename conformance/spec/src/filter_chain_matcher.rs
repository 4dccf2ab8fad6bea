//! `Listener.filter_chain_matcher`: a matcher tree that names the filter chain, in place of what the filter
//! chains ask for themselves.

use std::net::SocketAddr;

use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use prost::Message as _;
use twinmesh_engine::Chain;
use twinmesh_engine::address_text;
use twinmesh_xds::Listener;

use crate::connection::Connection;
use crate::filter_chain;
use crate::matcher_tree::{Asked, Why};
use crate::regex::Regexes;

const NO_SOURCE: &str = "the filter chain matcher looks at the source, which is not known";
const NO_DESTINATION: &str =
    "the filter chain matcher looks at the destination, which is not known";
const NOT_DECIDED: &str = "an input of the filter chain matcher is not decided";

/// What a tree comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// It leads to the action at this place, which names a filter chain; none where the listener has none
    /// of that name. The default one is not asked then.
    Named(usize, Option<Chain>),
    /// It leads nowhere: the default filter chain, where there is one.
    Default(Option<Chain>),
}

/// The filter chain that a listener's tree chooses for a connection; the error is why that is not decided.
pub(crate) fn choose(
    listener: &Listener,
    matcher: &Matcher,
    connection: &Connection,
    regexes: &Regexes,
) -> Result<Chosen, &'static str> {
    let input = |any: &Any| input(any, connection);
    let asked = Asked {
        input: &input,
        regexes,
    };
    let found = match asked.leads(matcher) {
        Ok(found) => found,
        // What looks at what is not there leads nowhere at all.
        Err(Why::Lacking) => None,
        Err(Why::Undecided(why)) => return Err(why),
    };
    let Some(found) = found else {
        let default = listener.default_filter_chain.as_ref();
        return Ok(Chosen::Default(default.map(|_| Chain::Default)));
    };
    // The action is a google.protobuf.StringValue.
    let name = String::decode(found.action.value.as_slice()).map_err(|_| NOT_DECIDED)?;
    let chains = &listener.filter_chains;
    let named = chains.iter().position(|chain| chain.config.name == name);
    Ok(Chosen::Named(found.places.start, named.map(Chain::Index)))
}

/// What an input says of the connection; none where there is nothing to say.
fn input(input: &Any, connection: &Connection) -> Result<Option<String>, Why> {
    let (_, name) = input.type_url.rsplit_once('/').unwrap_or_default();
    if name.starts_with("envoy.extensions.matching.common_inputs.ssl.v3.") {
        // There is no handshake before there is a filter chain.
        return Err(Why::Lacking);
    }
    let network = name.strip_prefix("envoy.extensions.matching.common_inputs.network.v3.");
    Ok(match network {
        Some("DestinationIPInput") => Some(address_text::text(destination(connection)?.ip())),
        Some("DestinationPortInput") => match connection.knows_destination {
            true => Some(connection.destination.port().to_string()),
            false => return Err(Why::Undecided(NO_DESTINATION)),
        },
        // There is nobody else before there is a request.
        Some("SourceIPInput" | "DirectSourceIPInput") => {
            Some(address_text::text(source(connection)?.ip()))
        }
        Some("SourcePortInput") => Some(source(connection)?.port().to_string()),
        Some("ServerNameInput") => Some(connection.server_name.clone()).filter(|it| !it.is_empty()),
        Some("TransportProtocolInput") => Some(connection.transport_protocol.to_owned()),
        Some("ApplicationProtocolInput") => {
            let protocols = connection.application_protocols.iter();
            let quoted: Vec<String> = protocols.map(|it| format!("'{it}'")).collect();
            (!quoted.is_empty()).then(|| quoted.join(","))
        }
        Some("SourceTypeInput") => is_local(connection)?.then(|| "local".to_owned()),
        _ => return Err(Why::Undecided(NOT_DECIDED)),
    })
}

fn source(connection: &Connection) -> Result<SocketAddr, Why> {
    let known = Some(connection.source).filter(|it| !it.ip().is_unspecified());
    known.ok_or(Why::Undecided(NO_SOURCE))
}

fn destination(connection: &Connection) -> Result<SocketAddr, Why> {
    let known = Some(connection.destination).filter(|it| !it.ip().is_unspecified());
    known.ok_or(Why::Undecided(NO_DESTINATION))
}

fn is_local(connection: &Connection) -> Result<bool, Why> {
    source(connection)?;
    let is_local = filter_chain::is_same_ip_or_loopback(connection);
    if !is_local {
        destination(connection)?;
    }
    Ok(is_local)
}
