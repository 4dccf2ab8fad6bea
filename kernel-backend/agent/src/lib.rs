//! The node agent: live traffic, decided by the model.
//!
//! A [`policy`] source gives snapshots; [`live`] compiles each and decides by the newest; the
//! [`proxy`] carries connections and requests to the endpoints that were chosen, and the
//! [`datapath`] lets the kernel do so where it can. [`admin`], [`metrics`], the [`access_log`]
//! and the [`shadow`] tell what goes on; [`run`] ties it together.

pub mod access_log;
pub mod admin;
pub mod cli;
pub mod datapath;
pub mod keep;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod plan;
pub mod policy;
pub mod proxy;
pub mod record;
pub mod run;
pub mod shadow;
