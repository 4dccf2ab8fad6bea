//! The ADS client: policy over xDS, state of the world and delta.
//!
//! [`Client::start`] takes a [`Bootstrap`], keeps an ADS stream to one of its servers, and gives
//! out each consistent [`Policy`]. The protocol itself is [`state`], without any IO.

mod backoff;
pub mod bootstrap;
mod client;
mod kind;
mod resource;
pub mod state;
mod status;
pub mod store;
mod target;
mod transport;

pub use backoff::Backoff;
pub use bootstrap::{Bootstrap, BootstrapError};
pub use client::{Client, Options, Random};
pub use kind::{Kind, PerKind};
pub use resource::{Policy, Resource, ResourceName, ResourceSet, Source};
pub use status::Status;
pub use store::StoreError;
pub use target::Target;
