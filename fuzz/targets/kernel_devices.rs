#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lull_fuzz::kernel_devices(bytes));
