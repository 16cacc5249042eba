//! Calls with random values of random types: see `laws`. `PROPTEST_CASES` says how many types are tried.

pub(crate) mod echo;
mod laws;

use proptest::prelude::*;

fn config() -> ProptestConfig {
    let given = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: given.and_then(|cases| cases.parse().ok()).unwrap_or(300),
        max_shrink_iters: 500,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_value_of_every_type(subject in laws::subject()) {
        RIG.with(|rig| laws::check(rig, &subject));
    }
}

thread_local! {
    static RIG: echo::Rig = laws::rig();
}
