//! Fuzz target: what `roadstead::wire::redis_adapter` makes of any input.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::redis_adapter::fuzz(data));
