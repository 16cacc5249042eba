//! The application whose guests fail: what a script learns of each failure.

use crate::shell::{assert_transcript, transcript};

#[test]
fn every_failure_is_an_error_and_the_next_call_works() {
    assert_transcript!(transcript(&fixtures::app("misbehaving"), &["run", "misbehave"]));
}
