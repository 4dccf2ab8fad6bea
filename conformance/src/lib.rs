//! The offline command `twinmesh`: check, replay, explain and conform.

pub mod case;
pub mod check;
pub mod cli;
pub mod comparison;
pub mod conform;
pub mod engines;
pub mod explain;
pub mod failure;
pub mod input;
pub mod interrupt;
pub mod judge;
pub mod kmesh;
pub mod output;
pub mod place;
pub mod replay;
pub mod reproducer;
pub mod sarif;
pub mod start;
pub mod words;
