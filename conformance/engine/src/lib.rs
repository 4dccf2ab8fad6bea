//! What every engine takes and gives: requests, decisions, traces, and the trait they implement.

pub mod address_text;
pub mod decision;
pub mod endpoint;
pub mod engine;
pub mod format;
mod play;
pub mod random;
pub mod replay;
pub mod request;
pub mod stream;
pub mod trace;
pub mod update;

pub use decision::{Decision, Failure, HeaderValues, Outcome, Try};
pub use engine::{Answer, Engine, EngineError, Held, Strictness};
pub use format::FormatError;
pub use replay::{Decided, Replay, ReplayError};
pub use request::{ClientCertificate, Request};
pub use stream::Streams;
pub use trace::{
    BadRequest, Chain, Did, Domain, Failed, Level, MirrorLevel, MutationOf, Step, Trace,
};
