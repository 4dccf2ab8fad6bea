//! The matcher tree of a listener (`Listener.filter_chain_matcher`), which chooses its filter chain by name
//! where it stands; what the chains themselves ask for (`filter_chain_match`) does not count then.

use std::collections::HashMap;

use crate::{
    error::ReadError,
    matcher_tree::{FILTER_STATE_INPUT, Found},
    path::Path,
    rbac_matcher::{CERTIFICATES, ENVIRONMENT_INPUT, NAMESPACE_INPUT, OF_CONNECTIONS},
    source::Source,
    view::View,
};

/// What matches lead to: the name of a filter chain.
pub(crate) const STRING_VALUE: &str = "google.protobuf.StringValue";
/// An action in another form, of which Envoy makes the message that it names.
const TYPED_STRUCT: &str = "xds.type.v3.TypedStruct";

/// Inputs that are decided here, beside those of connections.
pub(crate) const OF_FILTER_CHAINS: [&str; 3] = [
    "envoy.extensions.matching.common_inputs.network.v3.ApplicationProtocolInput",
    "envoy.extensions.matching.common_inputs.network.v3.SourceTypeInput",
    "envoy.extensions.matching.common_inputs.network.v3.TransportProtocolInput",
];

/// What the reader finds out of a listener's tree.
#[derive(Default)]
pub(crate) struct Tree {
    /// Where each action stands, in the order in which actions are counted.
    pub(crate) places: Vec<Path>,
    /// What is not decided, and why.
    pub(crate) undecided: Option<(Path, &'static str)>,
}

/// Refuses what Envoy refuses of a listener that has a tree.
///
/// # Errors
/// The first input that listeners do not know, the first action that names no filter chain, or the first
/// filter chain whose name is missing or another's.
pub(crate) fn check(listener: &View<'_>, source: &Source<'_>) -> Result<Tree, ReadError> {
    let Some(matcher) = listener.child("filter_chain_matcher") else {
        return Ok(Tree::default());
    };
    let mut names: HashMap<String, Path> = HashMap::new();
    for chain in listener.children("filter_chains") {
        let name = chain.text("name");
        if name.is_empty() {
            let problem = "a filter chain beside a filter_chain_matcher needs a name";
            return Err(source.invalid(&chain.path, problem));
        }
        if let Some(first) = names.insert(name.to_owned(), chain.path.clone()) {
            let problem = format!("the filter chain {first} has the same name, {name:?}");
            return Err(source.invalid(&chain.path.field("name"), problem));
        }
        // The one thing in it that counts beside a tree.
        let matched = chain.child("filter_chain_match");
        if let Some(matched) =
            matched.filter(|it| !it.text("address_suffix").is_empty() || it.has("suffix_len"))
        {
            let problem = "address_suffix and suffix_len are not implemented";
            return Err(source.invalid(&matched.path, problem));
        }
    }
    let found = Found::of(&matcher);
    for input in &found.inputs {
        let name = input.type_name();
        // What is not built in is reported where it stands.
        if input.content().is_some() && !takes(name) {
            let problem = format!("a listener does not match by {name}");
            return Err(source.invalid(&input.path, problem));
        }
    }
    let mut tree = Tree::default();
    for action in found.actions {
        let name = action.type_name();
        if name == TYPED_STRUCT {
            let why = "the name of a filter chain in a TypedStruct is not decided";
            tree.undecided.get_or_insert((action.path.clone(), why));
        } else if name != STRING_VALUE {
            let problem = format!("the name of a filter chain was expected, {name:?} found");
            return Err(source.invalid(&action.path, problem));
        }
        tree.places.push(action.path);
    }
    if let Some(path) = found.kept.into_iter().next() {
        // Measured: it takes the configuration and dies at a connection that gets there.
        let why = "Envoy does not survive matching that goes on where a filter chain is chosen";
        tree.undecided.get_or_insert((path, why));
    }
    Ok(tree)
}

fn takes(input: &str) -> bool {
    [FILTER_STATE_INPUT, NAMESPACE_INPUT, ENVIRONMENT_INPUT].contains(&input)
        || OF_CONNECTIONS.contains(&input)
        || OF_FILTER_CHAINS.contains(&input)
        || CERTIFICATES.contains(&input)
}
