//! Header mutations and mirrors in words.

#![allow(deprecated)] // Envoy decides by what it has deprecated

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, route::Action, route_action::ClusterSpecifier,
};
use twinmesh_engine::{Level, MirrorLevel, MutationOf};

use super::Sentence;

/// What the request is at: route configuration, virtual host, route.
pub type At<'a> = (
    Option<&'a RouteConfiguration>,
    Option<&'a VirtualHost>,
    Option<&'a Route>,
);

/// The mutations of a level.
pub fn tell(of: MutationOf, level: Level, at: At<'_>, entry: Option<usize>) -> Sentence {
    let (table, host, route) = at;
    let part = match of {
        MutationOf::Request => "request",
        MutationOf::Response => "response",
    };
    macro_rules! lists {
        ($message:expr) => {
            $message.map(|it| match of {
                MutationOf::Request => (&it.request_headers_to_add, &it.request_headers_to_remove),
                MutationOf::Response => {
                    (&it.response_headers_to_add, &it.response_headers_to_remove)
                }
            })
        };
    }
    let entry = entry.unwrap_or_default();
    let (choice, path, lists) = match level {
        Level::WeightedCluster => {
            let weighted = route.and_then(|route| match &route.action {
                Some(Action::Route(action)) => match &action.cluster_specifier {
                    Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                        weighted.clusters.get(entry)
                    }
                    _ => None,
                },
                _ => None,
            });
            let path = format!("route.weighted_clusters.clusters[{entry}].");
            ("weighted cluster", path, lists!(weighted))
        }
        Level::Route => ("route", String::new(), lists!(route)),
        Level::VirtualHost => ("virtual host", "virtual_host.".to_owned(), lists!(host)),
        Level::RouteConfiguration => {
            let path = "route_configuration.".to_owned();
            ("route configuration", path, lists!(table))
        }
    };
    let (add, remove) = lists.map_or((&[][..], &[][..]), |(add, remove)| (add, remove));
    let removed = remove
        .iter()
        .enumerate()
        .map(|(index, name)| format!("{path}{part}_headers_to_remove[{index}] {name}"));
    let added = add.iter().enumerate().map(|(index, option)| {
        let header = option.header.as_ref();
        let (name, value) = header.map_or(("", ""), |it| (it.key.as_str(), it.value.as_str()));
        let how = how(option);
        format!("{path}{part}_headers_to_add[{index}] {name}: {value:?}{how}")
    });
    let because: Vec<String> = removed.chain(added).collect();
    Sentence {
        topic: match of {
            MutationOf::Request => "request headers",
            MutationOf::Response => "response headers",
        },
        choice: choice.to_owned(),
        because: because.join("; "),
    }
}

/// How a value is added, where that is not beside those that are there.
fn how(option: &HeaderValueOption) -> &'static str {
    let overwrites = option.append.as_ref().is_some_and(|append| !append.value);
    match HeaderAppendAction::try_from(option.append_action) {
        _ if overwrites => " (append: false)",
        Ok(HeaderAppendAction::AddIfAbsent) => " (ADD_IF_ABSENT)",
        Ok(HeaderAppendAction::OverwriteIfExists) => " (OVERWRITE_IF_EXISTS)",
        Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => " (OVERWRITE_IF_EXISTS_OR_ADD)",
        Ok(HeaderAppendAction::AppendIfExistsOrAdd) | Err(_) => "",
    }
}

/// A copy that is made.
pub fn tell_mirror(level: MirrorLevel, policy: usize, (table, host, route): At<'_>) -> Sentence {
    let of_route = route.and_then(|route| match &route.action {
        Some(Action::Route(action)) => Some(&action.request_mirror_policies),
        _ => None,
    });
    let (place, policies) = match level {
        MirrorLevel::Cluster => ("the cluster's HttpProtocolOptions.", None),
        MirrorLevel::Route => ("route.", of_route),
        MirrorLevel::VirtualHost => (
            "virtual_host.",
            host.map(|host| &host.request_mirror_policies),
        ),
        MirrorLevel::RouteConfiguration => (
            "route_configuration.",
            table.map(|table| &table.request_mirror_policies),
        ),
    };
    let found = policies.and_then(|policies| policies.get(policy));
    let choice = match found {
        Some(found) if !found.cluster.is_empty() => format!("{:?}", found.cluster),
        Some(found) => format!("the cluster that {} names", found.cluster_header),
        None => "another cluster".to_owned(),
    };
    Sentence {
        topic: "mirror",
        choice,
        because: format!("{place}request_mirror_policies[{policy}]"),
    }
}
