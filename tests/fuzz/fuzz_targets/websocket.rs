//! Fuzz target: what `roadstead::wire::websocket` decodes does not depend on how it arrives.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::wire::websocket::fuzz(data));
