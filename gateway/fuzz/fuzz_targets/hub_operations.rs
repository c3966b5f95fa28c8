//! Drives a world of clients by operations made from bytes; see `src/hub_operations.rs`.
#![no_main]

use gateway_fuzz::hub_operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hub_operations::run(data));

// Half of the changes are of whole acts, half are the fuzzer's own.
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, size_max: usize, seed: u32| {
    let changed =
        if seed.is_multiple_of(2) { hub_operations::mutate(data, size, size_max, seed) } else { None };
    changed.unwrap_or_else(|| libfuzzer_sys::fuzzer_mutate(data, size, size_max))
});
