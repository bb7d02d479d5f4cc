//! Paths, query strings and the options in them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apiserver::fuzzing::request(bytes));
