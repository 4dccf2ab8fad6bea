//! The engine `envoy`: a real Envoy on loopback, started with the snapshot as static resources and
//! sent every request, whose access log says what it decided.
//!
//! - [`find`]: where the binary is
//! - `rewrite`: the snapshot as a bootstrap from which decisions can be read and nothing leaves
//!   loopback
//! - `process`: the running Envoy
//! - `backend`: what stands in for every endpoint
//! - `plan` and `client`: how a request gets there
//! - [`override_host`]: endpoints that it names
//! - `log` and `decide`: what became of it

mod backend;
mod client;
mod decide;
mod engine;
mod error;
pub mod find;
mod headers;
mod log;
pub mod override_host;
mod plan;
mod process;
mod response;
mod rewrite;
mod server;
mod tls;

pub use engine::Envoy;
pub use error::EnvoyError;
