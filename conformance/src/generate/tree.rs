//! What leads to each route of a virtual host's matcher tree.

use envoy_types::pb::envoy::config::route::v3::RouteList;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;

use super::wish::{self, Asked};
use crate::matcher_tree::{decoded, walk};

/// Headers and the values with which a request gets somewhere.
pub(crate) type Hints = Vec<(String, String)>;

/// For each route of the tree, in the virtual host's order, the headers with which a request may get
/// to it: what accepts is told, what has to refuse before is not.
pub(crate) fn hints(matcher: &Matcher) -> Vec<Hints> {
    let mut all = Vec::new();
    walk(matcher, &mut |way, action| {
        let Some(action) = action else {
            return;
        };
        let wishes = wish::of_way(way).into_iter().next().unwrap_or_default();
        let header = |(input, asked): wish::Wish| match asked {
            Asked::Text(text) => Some((input.header?, text)),
            Asked::Range(_) => None,
        };
        let own: Hints = wishes.into_iter().filter_map(header).collect();
        let url = action.typed_config.as_ref().map(|it| it.type_url.as_str());
        let list = url.filter(|url| url.ends_with(".RouteList"));
        let list = list.and_then(|_| decoded::<RouteList>(action));
        let count = list.map_or(1, |list| list.routes.len());
        all.extend(std::iter::repeat_n(own, count));
    });
    all
}
