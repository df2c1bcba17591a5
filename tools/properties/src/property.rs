//! A property and the inputs from which a search for a counter-example begins.

/// A property of a decoder, or of what executes its values.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// The name, which the fuzz target has too.
    pub name: &'static str,
    /// Checks the property for an input, and returns true if the input is accepted. Panics if the property does not hold.
    pub check: fn(&[u8]) -> bool,
    /// Returns inputs to begin with; most of them are accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}
