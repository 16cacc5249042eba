//! Whatever the bytes are, they stand for a type and for values of it, and the laws of the round trip hold for them.
//!
//! `cargo +nightly fuzz run round_trip`, in the folder of `wippy-cli`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

#[path = "../../tests/it/roundtrip/echo.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod echo;
#[path = "../../tests/it/roundtrip/laws.rs"]
mod laws;

thread_local! {
    static RIG: echo::Rig = laws::rig();
}

fuzz_target!(|bytes: &[u8]| {
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::from_seed(RngAlgorithm::PassThrough, bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    if let Ok(tree) = laws::subject().new_tree(&mut runner) {
        RIG.with(|rig| laws::check(rig, &tree.current()));
    }
});
