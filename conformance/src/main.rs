//! The offline command `twinmesh`.
fn main() {}
