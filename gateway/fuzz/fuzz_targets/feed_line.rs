//! Feeds lines to the feed's decoder and the market; see `src/feed_line.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway_fuzz::feed_line::run(data));
