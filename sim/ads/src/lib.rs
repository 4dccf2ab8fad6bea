//! The ADS client: policy over xDS, state of the world and delta.
