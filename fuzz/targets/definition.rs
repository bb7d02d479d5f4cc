//! A CustomResourceDefinition and an object of it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apiserver::fuzzing::definition(bytes));
