//! What becomes of a request after its endpoint is chosen, as Envoy decides it: how long it may
//! take, whether it is tried again, what there may be of all at one time, and which
//! endpoints are ejected.
//!
//! `no_std`, no allocation, no panics, and no state of its own: clock, random numbers and counters
//! are arguments. Times are in milliseconds, as Envoy's timers are; 0 stands for none where a
//! function says so.

#![no_std]
#![forbid(unsafe_code)]

pub mod circuit_breaker;
pub mod outlier_detection;
pub mod retry;
pub mod timeout;
