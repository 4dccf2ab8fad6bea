//! Small resources, and what a policy of them looks like in words.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::collections::BTreeSet;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{
                Address, AggregatedConfigSource, ConfigSource, SocketAddress,
                address::Address as Of, config_source::ConfigSourceSpecifier,
                socket_address::PortSpecifier,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                lb_endpoint::HostIdentifier,
            },
            listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
            route::v3::{
                Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
                route_action::ClusterSpecifier, route_match::PathSpecifier,
            },
        },
        extensions::filters::{
            http::router::v3::Router,
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier,
                http_filter,
            },
        },
    },
    google::protobuf::Any,
};
use prost::{Message, Name};
use twinmesh_ads::{Kind, ResourceSet};
use twinmesh_xds::Terminal;

fn any<T: Message + Name>(message: &T) -> Any {
    Any {
        type_url: T::type_url(),
        value: message.encode_to_vec(),
    }
}

fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        config_source_specifier: Some(
            ConfigSourceSpecifier::Ads(AggregatedConfigSource::default()),
        ),
        ..ConfigSource::default()
    })
}

fn address(port: u32) -> Option<Address> {
    Some(Address {
        address: Some(Of::SocketAddress(SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        })),
    })
}

/// A listener that takes its routes by RDS.
pub fn listener(name: &str, port: u32, routes: &str) -> Any {
    let manager = HttpConnectionManager {
        stat_prefix: "http".to_owned(),
        http_filters: vec![HttpFilter {
            name: "router".to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(
                any(&Router::default()),
            )),
            ..HttpFilter::default()
        }],
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: routes.to_owned(),
        })),
        ..HttpConnectionManager::default()
    };
    any(&Listener {
        name: name.to_owned(),
        address: address(port),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "http".to_owned(),
                config_type: Some(ConfigType::TypedConfig(any(&manager))),
            }],
            ..FilterChain::default()
        }],
        ..Listener::default()
    })
}

/// A route configuration that sends everything to one cluster; Envoy refuses one without domains.
pub fn routes(name: &str, cluster: &str, domains: &[&str]) -> Any {
    any(&RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "all".to_owned(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            routes: vec![Route {
                r#match: Some(RouteMatch {
                    path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
                    ..RouteMatch::default()
                }),
                action: Some(Action::Route(RouteAction {
                    cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
                    ..RouteAction::default()
                })),
                ..Route::default()
            }],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    })
}

/// A cluster with endpoints by EDS under the name of a service.
pub fn cluster(name: &str, service: &str) -> Any {
    any(&Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Eds as i32,
        )),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: ads(),
            service_name: service.to_owned(),
        }),
        ..Cluster::default()
    })
}

/// One endpoint; Envoy refuses priorities over 128.
pub fn endpoints(service: &str, port: u32, priority: u32) -> Any {
    any(&ClusterLoadAssignment {
        cluster_name: service.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                    address: address(port),
                    ..Endpoint::default()
                })),
                ..LbEndpoint::default()
            }],
            priority,
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    })
}

/// A policy in words: `l0 r1 c3` is a listener, its routes and the cluster they send to, `c0 s1 7`
/// a cluster, its service and its endpoint's port; `-` is what is absent.
pub fn outline(set: &ResourceSet) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let snapshot = &set.snapshot;
    for listener in &snapshot.listeners {
        let Terminal::Http {
            manager,
            route_configuration,
        } = &listener.filter_chains[0].terminal
        else {
            panic!("{listener:?}");
        };
        let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else {
            panic!("{manager:?}");
        };
        let target = route_configuration.map_or("-".to_owned(), |index| {
            let configuration = &snapshot.route_configurations[index];
            assert_eq!(configuration.name, rds.route_config_name);
            match &configuration.config.virtual_hosts[0].routes[0].action {
                Some(Action::Route(RouteAction {
                    cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
                    ..
                })) => cluster.clone(),
                other => panic!("{other:?}"),
            }
        });
        lines.insert(format!(
            "{} {} {target}",
            listener.name, rds.route_config_name
        ));
    }
    for cluster in &snapshot.clusters {
        let eds = cluster.config.eds_cluster_config.as_ref().expect("EDS");
        let assignment = cluster.load_assignment.as_ref().expect("an assignment");
        assert_eq!(assignment.cluster_name, eds.service_name);
        let port = assignment
            .endpoints
            .first()
            .map_or("-".to_owned(), |group| {
                match &group.lb_endpoints[0].host_identifier {
                    Some(HostIdentifier::Endpoint(endpoint)) => {
                        match endpoint
                            .address
                            .as_ref()
                            .and_then(|one| one.address.as_ref())
                        {
                            Some(Of::SocketAddress(SocketAddress {
                                port_specifier: Some(PortSpecifier::PortValue(port)),
                                ..
                            })) => port.to_string(),
                            other => panic!("{other:?}"),
                        }
                    }
                    other => panic!("{other:?}"),
                }
            });
        lines.insert(format!("{} {} {port}", cluster.name, eds.service_name));
    }
    lines
}

/// The type that others of this type's resources name.
pub fn child(kind: Kind) -> Kind {
    match kind {
        Kind::Cluster => Kind::LoadAssignment,
        Kind::Listener => Kind::RouteConfiguration,
        other => panic!("{other} names nothing"),
    }
}
