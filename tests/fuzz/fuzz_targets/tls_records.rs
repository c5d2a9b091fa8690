//! Fuzz target: what an established connection makes of bytes does not depend on how they arrive.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::tls::fuzz_records(data));
