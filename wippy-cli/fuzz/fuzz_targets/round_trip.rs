//! Whatever the bytes are, they stand for a type and for values of it, and the laws of the round trip hold for them.
//!
//! CONTRIBUTING says how it is run. What it keeps is in `corpus`, and a test of `wippy-cli` tries all of that.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/roundtrip/echo.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod echo;
#[path = "../../tests/it/roundtrip/laws.rs"]
mod laws;

thread_local! {
    static RIG: echo::Rig = laws::rig();
}

fuzz_target!(|bytes: &[u8]| RIG.with(|rig| laws::check(rig, &laws::subject_of(bytes))));
