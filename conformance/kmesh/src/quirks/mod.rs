//! One quirk a file.

pub(crate) mod domains;
pub(crate) mod header_matchers;
pub(crate) mod header_names;
pub(crate) mod ignored_fields;
pub(crate) mod kept_alive;
pub(crate) mod limits;
pub(crate) mod parsed_names;
pub(crate) mod path_kinds;
pub(crate) mod prefix_anywhere;
pub(crate) mod pseudo_headers;
pub(crate) mod repeated_headers;
pub(crate) mod round_robin;
pub(crate) mod route_order;
pub(crate) mod stale_endpoints;
pub(crate) mod weights;
