//! Fuzz target: what `roadstead::wire::websocket` makes of compressed messages stays within its bound.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::websocket::fuzz_deflate(data));
