//! Fuzz target: what `roadstead::wire::http1` decodes does not depend on how it arrives.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::http1::fuzz(data));
