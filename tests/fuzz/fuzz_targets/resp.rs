//! Fuzz target: what `roadstead::wire::resp` makes of any input.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::resp::fuzz(data));
