//! The matcher trees of RBAC filters, of requests and of connections: what they look at, where they lead
//! to, and the trees of address ranges in them.

use envoy_types::pb::xds::core::v3::CidrRange;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;

use crate::{
    error::ReadError,
    matcher_tree::{FILTER_STATE_INPUT, Found, HEADER_INPUT},
    network_rbac::NETWORK_RBAC,
    source::Source,
    view::View,
};

/// The type of the HTTP filter's configuration.
pub(crate) const HTTP_RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
/// What matches lead to.
pub(crate) const ACTION: &str = "envoy.config.rbac.v3.Action";

/// The address of who is connected, a proxy that sends a PROXY header too.
pub(crate) const DIRECT_SOURCE_INPUT: &str =
    "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput";
/// Inputs that are addresses.
pub(crate) const ADDRESSES: [&str; 3] = [
    "envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput",
    DIRECT_SOURCE_INPUT,
    "envoy.extensions.matching.common_inputs.network.v3.SourceIPInput",
];
/// Inputs of the connection that are decided.
pub(crate) const OF_CONNECTIONS: [&str; 6] = [
    ADDRESSES[0],
    ADDRESSES[1],
    ADDRESSES[2],
    "envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput",
    "envoy.extensions.matching.common_inputs.network.v3.ServerNameInput",
    "envoy.extensions.matching.common_inputs.network.v3.SourcePortInput",
];
/// Inputs of the peer's certificate.
pub(crate) const CERTIFICATES: [&str; 3] = [
    "envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput",
    "envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput",
    "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput",
];
/// The input of conditions in CEL.
pub(crate) const CEL_INPUT: &str = "xds.type.matcher.v3.HttpAttributesCelMatchInput";
/// The input of a request's dynamic metadata.
pub(crate) const METADATA_INPUT: &str =
    "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput";
/// The input of the listener's network namespace.
pub(crate) const NAMESPACE_INPUT: &str =
    "envoy.extensions.matching.common_inputs.network.v3.NetworkNamespaceInput";
/// The input of Envoy's own environment.
pub(crate) const ENVIRONMENT_INPUT: &str =
    "envoy.extensions.matching.common_inputs.environment_variable.v3.Config";

/// `xds.type.matcher.v3.IPMatcher`: a tree of address ranges, of which the longest one that has the
/// address is asked first, and of those of one length the first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IpMatcher {
    /// `range_matchers`.
    #[prost(message, repeated, tag = "1")]
    pub range_matchers: Vec<IpRangeMatcher>,
}

/// `xds.type.matcher.v3.IPMatcher.IPRangeMatcher`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IpRangeMatcher {
    /// `ranges`: addresses of one of them are meant.
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<CidrRange>,
    /// `on_match`.
    #[prost(message, optional, tag = "2")]
    pub on_match: Option<OnMatch>,
    /// `exclusive`: it is not asked behind one that has led nowhere.
    #[prost(bool, tag = "3")]
    pub exclusive: bool,
}

/// Refuses what Envoy refuses of the trees of an RBAC filter, its shadow rules' too; other messages pass.
///
/// # Errors
/// The first input that the filter does not know, the first action that is another's, or a `keep_matching`.
pub(crate) fn check(config: &View<'_>, source: &Source<'_>) -> Result<(), ReadError> {
    let of_requests = match config.message.name.as_str() {
        HTTP_RBAC => true,
        NETWORK_RBAC => false,
        _ => return Ok(()),
    };
    for field in ["matcher", "shadow_matcher"] {
        let Some(matcher) = config.child(field) else {
            continue;
        };
        let found = Found::of(&matcher);
        for input in &found.inputs {
            let name = input.type_name();
            // What is not built in is reported where it stands.
            if input.content().is_some() && !takes(name, of_requests) {
                let filter = if of_requests { "an HTTP" } else { "a network" };
                let problem = format!("{filter} RBAC filter does not match by {name}");
                return Err(source.invalid(&input.path, problem));
            }
        }
        for action in &found.actions {
            let name = action.type_name();
            if name != ACTION {
                let problem = format!("an Action of RBAC was expected, {name:?} found");
                return Err(source.invalid(&action.path, problem));
            }
        }
        if let Some(path) = found.kept.first() {
            return Err(source.invalid(path, "matching may not go on where RBAC matches"));
        }
    }
    Ok(())
}

fn takes(input: &str, of_requests: bool) -> bool {
    let of_both = [FILTER_STATE_INPUT, NAMESPACE_INPUT, ENVIRONMENT_INPUT];
    of_both.contains(&input)
        || OF_CONNECTIONS.contains(&input)
        || CERTIFICATES.contains(&input)
        || (of_requests && [HEADER_INPUT, METADATA_INPUT].contains(&input))
}
