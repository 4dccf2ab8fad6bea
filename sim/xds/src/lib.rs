//! xDS in: every form in which an Envoy's configuration comes, read into one [`Snapshot`].

mod assemble;
mod classify;
mod encode;
pub mod error;
mod filter_chain_matcher;
mod form;
pub mod format;
mod header_filters;
pub mod header_mutation;
pub mod http_filter;
pub mod managed_header;
mod matcher_tree;
mod meaning;
mod message;
pub mod network_rbac;
mod path;
pub mod positions;
mod profile;
pub mod rbac_matcher;
mod read;
mod regexes;
pub mod report;
mod resources;
mod schema;
pub mod snapshot;
mod source;
mod text;
pub mod uri_template;
mod validate;
mod view;
mod walk;
mod wire;
mod write;

pub use error::{Place, ReadError};
pub use header_filters::{HeaderFilters, header_filters};
pub use meaning::may_decide;
pub use message::read_message;
pub use positions::{Target, locate};
pub use profile::{Profile, UnknownProfile};
pub use read::{ReadOptions, read, read_bytes};
pub use report::{Effect, Finding, FindingKind, Report};
pub use resources::{RawResource, read_resources};
pub use snapshot::{
    Balancer, Cluster, FilterChain, Hashing, Listener, Maglev, RingHash, RouteConfiguration,
    SlowStart, Snapshot, Subsets, Terminal, Unsupported, VirtualHost, ZoneAware,
};
pub use write::to_json;
