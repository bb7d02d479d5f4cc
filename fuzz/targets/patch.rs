//! Patches of every type, to every kind.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apiserver::fuzzing::patch(bytes));
