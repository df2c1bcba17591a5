//! Faults on a chain of validators.
//!
//! | module | what it hides |
//! |---|---|
//! | `relay` | a bad network, on any system: delay, jitter, rate and cuts between ports |

pub mod relay;
