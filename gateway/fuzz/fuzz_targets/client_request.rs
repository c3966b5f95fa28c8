//! Feeds messages to the decoder of client requests; see `src/client_request.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway_fuzz::client_request::run(data));
