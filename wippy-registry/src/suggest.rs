//! "Did you mean": the nearest of some candidates by edit distance.

/// The candidate nearest to what was written, if one is near enough to be a typo of it.
///
/// Near means at most a third of the longer word's characters (and at least one) differ; a swap of neighbours
/// counts once, and letter case does not count. Of equally near candidates the first wins.
///
/// ```
/// assert_eq!(wippy_registry::suggest::closest("lzay", ["inline", "lazy"]), Some("lazy"));
/// assert_eq!(wippy_registry::suggest::closest("kubernetes", ["inline", "lazy"]), None);
/// ```
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let lowered = candidate.to_lowercase();
        let longest = word.chars().count().max(lowered.chars().count());
        let distance = edit_distance(&word, &lowered);
        if distance <= (longest / 3).max(1)
            && distance < longest
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other
/// (optimal string alignment).
pub fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    let mut previous_from = None;
    for (row, letter) in from.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut previous_to = None;
        for (column, other) in to.iter().copied().enumerate() {
            let at = |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, column) + usize::from(letter != other);
            let mut cost = replaced
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            if column > 0 && previous_from == Some(other) && previous_to == Some(letter) {
                cost = cost.min(at(&before_last, column - 1) + 1);
            }
            current.push(cost);
            previous_to = Some(other);
        }
        previous_from = Some(letter);
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("é", "e", 1),
        ] {
            assert_eq!(edit_distance(from, to), distance, "{from} {to}");
        }
    }

    #[test]
    fn a_one_letter_word_suggests_nothing_unrelated() {
        assert_eq!(closest("a", ["b"]), None);
        assert_eq!(closest("Method", ["method", "methods"]), Some("method"));
    }
}
