//! Calls with values of any type, chosen at random and by what a fuzzer kept: see `laws`. `PROPTEST_CASES` says how many
//! types are tried at random.

pub(crate) mod echo;
mod laws;

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*};
use wippy_wit::arbitrary;

use laws::Subject;

fn config() -> ProptestConfig {
    let given = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: given.and_then(|cases| cases.parse().ok()).unwrap_or(300),
        max_shrink_iters: 500,
        ..ProptestConfig::default()
    }
}

fn subject() -> impl Strategy<Value = Subject> {
    let ty = arbitrary::ty().prop_map(|ty| laws::with_flags_that_fit(&ty));
    ty.prop_flat_map(|ty| (vec(arbitrary::value_of(&ty), 1..4), Just(ty), any::<usize>()))
        .prop_map(|(values, ty, pick)| Subject { ty, values, pick })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_value_of_every_type(subject in subject()) {
        RIG.with(|rig| laws::check(rig, &subject));
    }
}

/// Each of them led the fuzzer (`fuzz/fuzz_targets/round_trip.rs`) to code that none of the others did.
#[test]
fn everything_that_the_fuzzer_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/round_trip");
    let mut types = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let subject = laws::subject_of(&fs::read(&path).unwrap());
        println!("{}: {}", path.display(), subject.ty);
        RIG.with(|rig| laws::check(rig, &subject));
        types.push(arbitrary::document(&subject.ty));
    }
    for word in [
        "bool", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64", "char", "string",
        "list<", "tuple<", "option<", "result", "map<", "record ", "variant ", "enum ", "flags ", ", 3>",
    ] {
        assert!(types.iter().any(|ty| ty.contains(word)), "no type with `{word}`");
    }
}

thread_local! {
    static RIG: echo::Rig = laws::rig();
}
