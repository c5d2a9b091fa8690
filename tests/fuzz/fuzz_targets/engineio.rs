//! Fuzz target: what `roadstead::wire::engineio` decodes is encoded again as the same, in both of its forms.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::engineio::fuzz(data));
