//! Fuzz target: what a header of the PROXY protocol says does not depend on how it arrives.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::proxy::fuzz(data));
