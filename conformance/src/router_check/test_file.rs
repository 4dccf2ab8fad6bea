//! The test files of Envoy's route table check tool.

use std::path::Path;

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::google::protobuf::{Duration, StringValue, Struct, UInt32Value};
use prost::Message;
use twinmesh_spec::route_table::Input;

use crate::failure::Failure;

/// The message that a test file is.
const VALIDATION: &str = "envoy.RouterCheckToolSchema.Validation";

/// A test file.
#[derive(Clone, PartialEq, Message)]
pub struct Validation {
    /// The tests, in order.
    #[prost(message, repeated, tag = "1")]
    pub tests: Vec<Test>,
}

/// One test.
#[derive(Clone, PartialEq, Message)]
pub struct Test {
    /// Its name; several may have the same.
    #[prost(string, tag = "1")]
    pub test_name: String,
    /// The request.
    #[prost(message, optional, tag = "2")]
    pub input: Option<ValidationInput>,
    /// What is expected of it.
    #[prost(message, optional, tag = "3")]
    pub validate: Option<ValidationAssert>,
}

/// The request of a test.
#[derive(Clone, PartialEq, Message)]
pub struct ValidationInput {
    /// `:authority`.
    #[prost(string, tag = "1")]
    pub authority: String,
    /// `:path`, with its query.
    #[prost(string, tag = "2")]
    pub path: String,
    /// `:method`.
    #[prost(string, tag = "4")]
    pub method: String,
    /// The random number.
    #[prost(uint64, tag = "5")]
    pub random_value: u64,
    /// Whether it came by https.
    #[prost(bool, tag = "6")]
    pub ssl: bool,
    /// Whether `x-envoy-internal` is there.
    #[prost(bool, tag = "7")]
    pub internal: bool,
    /// The runtime key that is set.
    #[prost(string, tag = "9")]
    pub runtime: String,
    /// Further headers of the request.
    #[prost(message, repeated, tag = "10")]
    pub additional_request_headers: Vec<HeaderValue>,
    /// Headers of the response.
    #[prost(message, repeated, tag = "11")]
    pub additional_response_headers: Vec<HeaderValue>,
    /// Metadata that filters would have set.
    #[prost(message, repeated, tag = "12")]
    pub dynamic_metadata: Vec<DynamicMetadata>,
}

/// Metadata that a filter would have set.
#[derive(Clone, PartialEq, Message)]
pub struct DynamicMetadata {
    /// The filter.
    #[prost(string, tag = "1")]
    pub metadata_namespace: String,
    /// Whether it replaces what is there.
    #[prost(bool, tag = "2")]
    pub allow_overwrite: bool,
    /// The metadata.
    #[prost(message, optional, tag = "3")]
    pub value: Option<Struct>,
}

/// What a test expects. What is absent is not asked for.
#[derive(Clone, PartialEq, Message)]
pub struct ValidationAssert {
    /// The cluster; empty: the request is not forwarded.
    #[prost(message, optional, tag = "1")]
    pub cluster_name: Option<StringValue>,
    /// The virtual cluster.
    #[prost(message, optional, tag = "2")]
    pub virtual_cluster_name: Option<StringValue>,
    /// The virtual host.
    #[prost(message, optional, tag = "3")]
    pub virtual_host_name: Option<StringValue>,
    /// The authority as it is sent upstream.
    #[prost(message, optional, tag = "4")]
    pub host_rewrite: Option<StringValue>,
    /// The path as it is sent upstream.
    #[prost(message, optional, tag = "5")]
    pub path_rewrite: Option<StringValue>,
    /// Where the client is redirected to.
    #[prost(message, optional, tag = "6")]
    pub path_redirect: Option<StringValue>,
    /// Values of request headers.
    #[prost(message, repeated, tag = "9")]
    pub request_header_fields: Vec<HeaderValue>,
    /// Values of response headers.
    #[prost(message, repeated, tag = "10")]
    pub response_header_fields: Vec<HeaderValue>,
    /// Matchers of request headers.
    #[prost(message, repeated, tag = "11")]
    pub request_header_matches: Vec<HeaderMatcher>,
    /// Matchers of response headers.
    #[prost(message, repeated, tag = "12")]
    pub response_header_matches: Vec<HeaderMatcher>,
    /// The status of the redirect or direct response.
    #[prost(message, optional, tag = "13")]
    pub code_redirect: Option<UInt32Value>,
    /// The route's timeout.
    #[prost(message, optional, tag = "14")]
    pub timeout: Option<Duration>,
    /// Texts in the route's metadata.
    #[prost(message, repeated, tag = "15")]
    pub route_metadata: Vec<RouteMetadata>,
}

/// A text in a route's metadata.
#[derive(Clone, PartialEq, Message)]
pub struct RouteMetadata {
    /// `filter_metadata`'s key.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The key in it.
    #[prost(string, tag = "2")]
    pub key: String,
    /// The text.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// Reads a test file, JSON or YAML.
///
/// # Errors
/// It cannot be read, is neither, or the tool would refuse it; with file, line, column and field.
pub fn read(path: &Path) -> Result<Validation, Failure> {
    let file = path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|error| Failure(format!("{file}: cannot be read: {error}")))?;
    parse(&file, &bytes)
}

/// Reads a test file's content; `file` is its name in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &str, bytes: &[u8]) -> Result<Validation, Failure> {
    let bytes = twinmesh_xds::read_message(file, bytes, VALIDATION)
        .map_err(|error| Failure(error.to_string()))?;
    Validation::decode(bytes.as_slice())
        .map_err(|error| Failure(format!("{file}: not a valid {VALIDATION}: {error}")))
}

impl Test {
    /// The request of the test.
    pub fn request(&self) -> Input {
        let nothing = ValidationInput::default();
        let input = self.input.as_ref().unwrap_or(&nothing);
        let headers = |headers: &[HeaderValue]| {
            headers
                .iter()
                .map(|header| (header.key.clone(), header.value.clone()))
                .collect()
        };
        Input {
            method: input.method.clone(),
            authority: input.authority.clone(),
            path: input.path.clone(),
            ssl: input.ssl,
            internal: input.internal,
            random_value: input.random_value,
            runtime: input.runtime.clone(),
            request_headers: headers(&input.additional_request_headers),
            response_headers: headers(&input.additional_response_headers),
        }
    }
}
