//! Single resources, as an xDS client holds them.

use envoy_types::pb::envoy::config::{
    cluster::v3::{Cluster, cluster},
    core::v3::{AggregatedConfigSource, ConfigSource, config_source::ConfigSourceSpecifier},
    endpoint::v3::ClusterLoadAssignment,
    route::v3::{RouteConfiguration, VirtualHost},
};
use prost::Message as _;
use twinmesh_xds::{RawResource, ReadError, ReadOptions, Snapshot, read_resources};

const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

fn read(resources: &[(&str, &str, Vec<u8>)]) -> Result<Snapshot, ReadError> {
    let resources = resources.iter().map(|(type_url, name, value)| RawResource {
        type_url,
        name,
        value,
    });
    read_resources("the server", resources, &ReadOptions::default())
}

fn refusal(resources: &[(&str, &str, Vec<u8>)]) -> String {
    read(resources).expect_err("it is refused").to_string()
}

fn routes(name: &str, domains: &[&str]) -> Vec<u8> {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "host".to_owned(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
    .encode_to_vec()
}

fn eds_cluster(name: &str) -> Vec<u8> {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Eds as i32,
        )),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: Some(ConfigSource {
                config_source_specifier: Some(ConfigSourceSpecifier::Ads(
                    AggregatedConfigSource::default(),
                )),
                ..ConfigSource::default()
            }),
            ..Default::default()
        }),
        ..Cluster::default()
    }
    .encode_to_vec()
}

#[test]
fn resources_of_all_kinds_belong_together() {
    let endpoints = ClusterLoadAssignment {
        cluster_name: "c".to_owned(),
        ..ClusterLoadAssignment::default()
    };
    let snapshot = read(&[
        (ENDPOINTS, "c", endpoints.encode_to_vec()),
        (ROUTES, "r", routes("r", &["*"])),
        (CLUSTER, "c", eds_cluster("c")),
    ])
    .expect("it is read");
    assert_eq!(snapshot.clusters[0].load_assignment, Some(endpoints));
    assert_eq!(snapshot.clusters[0].unsupported, None);
    assert_eq!(snapshot.route_configurations[0].name, "r");
}

#[test]
fn a_cluster_that_is_not_there_stays_away() {
    let snapshot = read(&[(ROUTES, "r", routes("r", &["*"]))]).expect("it is read");
    assert!(snapshot.clusters.is_empty());
}

#[test]
fn a_refusal_names_the_resource_and_the_field() {
    assert_eq!(
        refusal(&[(ROUTES, "r", routes("r", &[]))]),
        "the server: RouteConfiguration[\"r\"].virtual_hosts[0].domains: Envoy refuses this: \
         at least 1 of domains are needed, there are 0"
    );
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let text = refusal(&[(CLUSTER, "c", vec![0x0a, 0xff])]);
    assert!(text.starts_with("the server: Cluster[\"c\"]: "), "{text}");
}

#[test]
fn another_type_and_a_second_of_one_name_are_refused() {
    let text = refusal(&[("type.googleapis.com/envoy.config.core.v3.Node", "n", vec![])]);
    assert!(
        text.contains("found \"envoy.config.core.v3.Node\""),
        "{text}"
    );
    let twice = (ROUTES, "r", routes("r", &["*"]));
    let text = refusal(&[twice.clone(), twice]);
    assert!(
        text.contains("a second RouteConfiguration named \"r\""),
        "{text}"
    );
}
