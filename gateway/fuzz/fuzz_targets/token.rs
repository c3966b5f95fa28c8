//! Feeds credentials and key files to whoever judges them; see `src/token.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway_fuzz::token::run(data));
