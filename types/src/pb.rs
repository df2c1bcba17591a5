//! The generated protobuf structures. Shapes only: what they promise is said by the types that convert from them.
#![allow(missing_docs, clippy::all)]
include!(concat!(env!("OUT_DIR"), "/cairn.v1.rs"));
