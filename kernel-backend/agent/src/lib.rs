//! The node agent: live traffic, decided by the model in the kernel and in a userspace proxy.

pub mod datapath;
