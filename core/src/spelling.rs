//! What was meant by a word that is none of those that may stand there.

/// From here on, of 1, a wrong word is near enough to one that was meant.
const NEAR: f64 = 0.5;
/// Nobody means anything by a longer word, bytes; the comparison takes time.
const WORD_BYTES_MAX: usize = 256;

/// The word that is nearest to a wrong one, when it is near enough to be meant; the last one of
/// several that are as near.
#[must_use]
pub fn nearest<'a>(wrong: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wrong.len() > WORD_BYTES_MAX {
        return None;
    }
    let near = |word| (strsim::normalized_damerau_levenshtein(wrong, word), word);
    let all = words.into_iter().map(near);
    let best = all.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= NEAR).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let words = ["maproot", "mapall", "mingoal"];
        assert_eq!(nearest("maprot", words), Some("maproot"));
        assert_eq!(nearest("mapal", words), Some("mapall"));
        assert_eq!(nearest("mingola", words), Some("mingoal"));
        assert_eq!(nearest("xyz", words), None);
        assert_eq!(nearest("maproot", []), None);
        assert_eq!(nearest(&"maproot".repeat(100), words), None);
    }
}
