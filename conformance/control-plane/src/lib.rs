//! A control plane to test with: an ADS server that serves snapshots, follows scripts and misbehaves on purpose.
