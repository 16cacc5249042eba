//! Randomness from the operating system, for whatever has to be unpredictable.

use wippy_security::CallError;

/// Fills `bytes`.
///
/// # Errors
/// When the system has none.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), CallError> {
    getrandom::fill(bytes).map_err(|_| CallError::internal("the system gives no random bytes"))
}

/// As many bytes as are wanted.
///
/// # Errors
/// As [`fill`].
pub(crate) fn array<const N: usize>() -> Result<[u8; N], CallError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// `len` letters of `alphabet`, each as likely as the others.
///
/// # Errors
/// As [`fill`].
pub(crate) fn letters(len: usize, alphabet: &[u8]) -> Result<Vec<u8>, CallError> {
    let mut letters = Vec::with_capacity(len);
    let fair = 256 - 256 % alphabet.len();
    while letters.len() < len {
        let bytes: [u8; 256] = array()?;
        let drawn = bytes.iter().map(|byte| usize::from(*byte));
        // A byte beyond the last whole multiple would favour the first letters.
        let drawn = drawn
            .filter(|byte| *byte < fair)
            .filter_map(|byte| alphabet.get(byte % alphabet.len()));
        letters.extend(drawn.take(len - letters.len()));
    }
    Ok(letters)
}
