//! Route tables of a given size, for benchmarks: snapshots as JSON, and requests for them.

use std::fmt::Write as _;

use twinmesh_compile::{Compiled, Input};
use twinmesh_engine::{EngineError, Request};
use twinmesh_model::Machine;
use twinmesh_model::layout::{input, work};

use crate::Memory;

/// How the routes of a table are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// By path prefix, exact path and a header, as route tables usually are.
    Typical,
    /// All on the path `/`, told apart by the exact value of one header.
    Hostile,
}

/// A static bootstrap with one listener, one virtual host, `routes` routes and one cluster of four
/// endpoints.
pub fn bootstrap(shape: Shape, routes: usize) -> String {
    let mut list = String::new();
    for index in 0..routes {
        if index != 0 {
            list.push(',');
        }
        let matched = match (shape, index % 3) {
            (Shape::Hostile, _) => {
                format!(
                    r#"{{"prefix":"/","headers":[{{"name":"x-tenant","string_match":{{"exact":"tenant-{index}"}}}}]}}"#
                )
            }
            (Shape::Typical, 0) => format!(r#"{{"path":"/service-{index}/status"}}"#),
            (Shape::Typical, 1) => {
                format!(r#"{{"path_separated_prefix":"/service-{index}/api/v1"}}"#)
            }
            (Shape::Typical, _) => format!(
                r#"{{"prefix":"/service-{index}/","headers":[{{"name":"x-version","string_match":{{"exact":"v2"}}}}]}}"#
            ),
        };
        // Writing to a String does not fail.
        let _ = write!(
            list,
            r#"{{"match":{matched},"route":{{"cluster":"backend"}}}}"#
        );
    }
    let separator = if routes == 0 { "" } else { "," };
    let endpoints: Vec<String> = (1..=4)
        .map(|index| {
            format!(
                r#"{{"endpoint":{{"address":{{"socket_address":{{"address":"10.0.0.{index}","port_value":8080}}}}}}}}"#
            )
        })
        .collect();
    let endpoints = endpoints.join(",");
    format!(
        r#"{{"static_resources":{{"listeners":[{{"name":"web","address":{{"socket_address":{{"address":"0.0.0.0","port_value":80}}}},
"filter_chains":[{{"filters":[{{"name":"envoy.filters.network.http_connection_manager","typed_config":{{
"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"web",
"http_filters":[{{"name":"envoy.filters.http.router","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}],
"route_config":{{"name":"web","virtual_hosts":[{{"name":"shop","domains":["shop.example.com","*.shop.example.com"],"routes":[
{list}{separator}{{"match":{{"prefix":"/"}},"route":{{"cluster":"backend"}}}}]}}]}}}}}}]}}]}}],
"clusters":[{{"name":"backend","type":"STATIC","connect_timeout":"1s","load_assignment":{{"cluster_name":"backend","endpoints":[{{"lb_endpoints":[{endpoints}]}}]}}}}]}}}}"#
    )
}

/// A request line of a traffic file for route `index` of a table: six headers, about 256 bytes of
/// head. `number` makes the requests of one route differ, in length too.
pub fn request(shape: Shape, index: usize, number: usize) -> String {
    let path = match (shape, index % 3) {
        (Shape::Hostile, _) => format!("/cart?item={number}"),
        (Shape::Typical, 0) => format!("/service-{index}/status?item={number}"),
        (Shape::Typical, 1) => format!("/service-{index}/api/v1/items/{number}"),
        (Shape::Typical, _) => format!("/service-{index}/items/{number}"),
    };
    format!(
        r#"{{"id":"r{index}","authority":"shop.example.com","path":"{path}","destination":"10.1.0.1:80","headers":[
["user-agent","Mozilla/5.0 (X11; Linux x86_64)"],["accept","application/json"],["x-request-id","6f1e3c2a-93b1-4b6f-{number:04}"],
["x-tenant","tenant-{index}"],["x-version","v2"]]}}"#
    )
    .replace('\n', "")
}

/// Requests that a table is measured by: as many for a small one as for a large one, so that the
/// processor foresees neither better.
pub const REQUESTS: usize = 1000;

/// The lines of [`REQUESTS`] requests, spread over a table's routes.
pub fn requests(shape: Shape, routes: usize) -> impl Iterator<Item = String> {
    (0..REQUESTS).map(move |number| request(shape, number * routes.max(1) / REQUESTS, number))
}

/// Requests that are laid out once and decided in turn.
#[derive(Debug)]
pub struct Turns {
    memory: Memory,
    heads: Vec<Vec<u8>>,
    turn: usize,
    sequence: u64,
}

impl Turns {
    /// Lays the requests out. They may differ in their heads only.
    ///
    /// # Errors
    /// A request does not fit the snapshot.
    pub fn new(compiled: &Compiled, requests: &[Request]) -> Result<Self, EngineError> {
        let mut memory = Memory::new(compiled);
        for request in requests {
            compiled.prepare(request, 7, 1, &mut memory)?;
        }
        Ok(Self {
            memory,
            heads: requests.iter().map(Request::head).collect(),
            turn: 0,
            sequence: 1,
        })
    }

    /// Decides the next request: its head is copied in, and the model runs. A code of
    /// [`twinmesh_model::layout::outcome`].
    pub fn decide(&mut self) -> u64 {
        let Some(head) = self.heads.get(self.turn) else {
            return 0;
        };
        self.turn += 1;
        if self.turn == self.heads.len() {
            self.turn = 0;
        }
        self.sequence += 1;
        self.memory.set_bytes(input::HEAD, head);
        Input::set_word(&mut self.memory, work::HEAD_LENGTH, head.len() as u64);
        Input::set_word(&mut self.memory, work::SEQUENCE, self.sequence);
        Input::set_word(&mut self.memory, work::RANDOM, self.sequence);
        twinmesh_model::decide(&mut self.memory);
        self.memory.word(work::OUTCOME)
    }
}
