//! What traffic can reach in a snapshot, and what it does reach.
//!
//! A [`Goal`] is one thing that a request reaches or not: a resource, or one side of a matcher.
//! [`Catalogue`] has all goals of a snapshot, [`Observer`] tells which of them a decided request
//! reaches, and [`name()`] what they are called.

mod brief;
mod catalogue;
mod domains;
mod goal;
mod name;
mod observer;
mod passing;
mod refusals;

pub use brief::Brief;
pub use catalogue::{Catalogue, Undecided};
pub use goal::{Goal, Kind, Part, RouteAt};
pub use name::{Name, name};
pub use observer::Observer;

pub(crate) use catalogue::{criteria, entries, match_undecided, parts};
pub(crate) use name::route;
pub(crate) use passing::{Passing, Way};
pub(crate) use refusals::{exact, folds_case, takes_any_path};
