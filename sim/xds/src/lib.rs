//! xDS in: every form in which an Envoy's configuration comes, read into one [`Snapshot`].

pub mod report;
pub mod snapshot;

pub use report::{Effect, Finding, FindingKind, Report};
pub use snapshot::{
    Cluster, FilterChain, Listener, RouteConfiguration, Snapshot, Terminal, Unsupported,
    VirtualHost,
};
