//! Fuzz target: what `roadstead::wire::json` decodes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::json::fuzz(data));
