//! What becomes of requests after their endpoint is chosen: as Envoy 1.40 was measured to have it,
//! and by both engines alike over generated policies and scripts.

mod breakers;
mod generated;
mod measured;
mod outliers;
mod recorded;
mod snapshot;
