//! Generated traffic is what a traffic file can hold: cases that are written can be read.

use std::path::Path;

use proptest::prelude::*;
use twinmesh_engine::format::traffic;

use crate::{bootstrap, tapes};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_traffic_file_holds_every_request(
        (bootstrap, tapes) in (bootstrap(), tapes(200)),
    ) {
        let requests = super::requests(&bootstrap, &tapes);
        let mut file = Vec::new();
        traffic::write(&requests, &mut file).expect("memory takes it");
        match traffic::parse(Path::new("generated"), &file) {
            Ok(read) => prop_assert_eq!(read, requests),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
