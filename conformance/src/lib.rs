//! The offline command `twinmesh`: check, replay, explain, conform and fuzz.
//! The offline command `twinmesh`: check, replay, explain, conform, convert and router-check.

pub mod case;
pub mod check;
pub mod cli;
pub mod comparison;
pub mod completions;
pub mod conform;
pub mod convert;
pub mod coverage;
pub mod diff;
pub mod engines;
pub mod explain;
pub mod failure;
pub mod fuzz;
pub mod generate;
pub mod input;
pub mod interrupt;
pub mod judge;
<<<<<<< HEAD
pub mod man;
=======
pub mod known;
>>>>>>> 4847318 (Ask a real Envoy: the engine envoy, compared as far as the snapshot leaves no choice)
pub mod output;
pub mod reach;
pub mod replay;
pub mod reproducer;
pub mod router_check;
pub mod start;
pub mod words;
