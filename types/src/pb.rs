//! The generated protobuf structures. They define only shapes; the types that convert from them enforce the invariants.
#![allow(missing_docs, clippy::all)]
include!(concat!(env!("OUT_DIR"), "/cairn.v1.rs"));
