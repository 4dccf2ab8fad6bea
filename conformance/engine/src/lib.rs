//! What every engine takes and gives: requests, decisions, traces, and the trait they implement.

pub mod decision;
pub mod engine;
pub mod request;
pub mod trace;

pub use decision::{Decision, Outcome};
pub use engine::{Answer, Engine, EngineError, Held, Strictness};
pub use request::Request;
pub use trace::{BadRequest, Chain, Domain, Failed, Step, Trace};
