//! What all fuzz targets share: the allocator that counts, and the macro that makes a target of a property.

pub use libfuzzer_sys;
pub use properties;

/// Makes the fuzz target of the property of this name.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[global_allocator]
        static ALLOCATOR: $crate::properties::memory::Counting = $crate::properties::memory::Counting;

        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            $crate::properties::$name(bytes);
        });
    };
}
