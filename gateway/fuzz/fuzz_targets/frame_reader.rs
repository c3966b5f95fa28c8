//! Feeds octets to the reader of client frames; see `src/frame_reader.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway_fuzz::frame_reader::run(data));
