//! Properties of calls over random types and values: see `laws`. `PROPTEST_CASES` says how many types are tried.

pub(crate) mod echo;
mod laws;

use proptest::{collection::vec, prelude::*, sample::Index};
use wippy_wit::{Type, Value, arbitrary};

/// A type that a component can have, and some values of it.
fn ty_and_values() -> impl Strategy<Value = (Type, Vec<Value>)> {
    arbitrary::ty()
        .prop_map(|ty| laws::with_flags_that_fit(&ty))
        .prop_flat_map(|ty| (Just(ty.clone()), vec(arbitrary::value_of(&ty), 1..4)))
}

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
    fn every_value_of_every_type((ty, values) in ty_and_values(), pick in any::<Index>()) {
        RIG.with(|rig| laws::check(rig, &ty, &values, pick));
    }
}

thread_local! {
    static RIG: echo::Rig = laws::rig();
}
