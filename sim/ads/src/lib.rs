//! The ADS client: policy over xDS, state of the world and delta.

pub mod bootstrap;
mod kind;
mod resource;
pub mod state;
mod target;

pub use bootstrap::{Bootstrap, BootstrapError};
pub use kind::{Kind, PerKind};
pub use resource::{Policy, Resource, ResourceName, ResourceSet, Source};
pub use target::Target;
