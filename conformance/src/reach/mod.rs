//! What traffic can reach in a snapshot, and what it does reach.
//!
//! A [`Goal`] is one thing that a request reaches or not: a resource, or one side of a matcher.
//! [`Catalogue`] has all goals of a snapshot, [`Observer`] tells which of them a decided request
//! reaches, and [`name()`] what they are called.

pub(crate) mod behind;
mod brief;
mod catalogue;
mod domains;
mod goal;
mod name;
mod observer;
mod passing;
mod policy;
mod refusals;

pub use brief::Brief;
pub use catalogue::{Catalogue, Undecided};
pub use goal::{Filter, Goal, Kind, Part, PolicyOf, RouteAt};
pub use name::{Name, name};
pub use observer::Observer;

pub(crate) use catalogue::{criteria, entries, match_undecided, parts};
pub(crate) use name::{http_filter, route};
pub(crate) use passing::{Passed, Passing, Way};
pub(crate) use policy::{Judging, filter_chain, is_spoken_to, judging, table};
pub(crate) use refusals::{exact, folds_case, takes_any_path};
