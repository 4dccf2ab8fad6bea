//! A control plane to test with: an ADS server that serves snapshots, follows scripts and
//! misbehaves on purpose.
//!
//! [`ControlPlane::start`] listens; [`ControlPlane::serve`] says what it serves,
//! [`ControlPlane::behave`] how, and [`ControlPlane::wait`] sees what clients make of it.

mod behaviour;
mod event;
mod follow;
mod script;
mod served;
mod server;
mod stream;

pub use behaviour::{Behaviour, Command, Nonce, Poison};
pub use event::{Event, What};
pub use follow::follow;
pub use script::{Script, ScriptError};
pub use served::{Entry, Served, ServedError, Set};
pub use server::{ControlPlane, StartError, Tls};
