//! Fuzz target: what `roadstead::wire::socketio` decodes is sound, bounded and encoded again as the same.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::socketio::fuzz(data));
