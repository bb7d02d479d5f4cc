//! Bodies in JSON, protobuf and YAML, of every kind.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apiserver::fuzzing::body(bytes));
