//! Objects that an API server sends to a node's proxy.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runtime::fuzzing::api_object(bytes));
