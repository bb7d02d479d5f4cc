//! Files of kube-proxy's configuration.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runtime::fuzzing::proxy_configuration(bytes));
