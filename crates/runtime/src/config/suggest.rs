//! What was probably meant.

/// Below this, words are different words and not a slip.
const ALIKE: f64 = 0.8;

/// The known word that is nearest to the given one, where one is near.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let nearness = |word: &str| {
        // A singular for a plural, or a word left out, is a slip as well.
        let is_part = word.len() > 2 && given.len() > 2 && (word.contains(&*given) || given.contains(word));
        strsim::jaro_winkler(&given, word).max(if is_part { ALIKE } else { 0.0 })
    };
    let candidates = known.into_iter().map(|word| (nearness(word), word)).filter(|(nearness, _)| *nearness >= ALIKE);
    candidates.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KNOWN: [&str; 4] = ["name", "urls", "connections", "max_connections"];

    #[test]
    fn slip_suggests_the_nearest_word() {
        for (given, meant) in [("url", "urls"), ("nmae", "name"), ("connection", "connections"), ("NAME", "name")] {
            assert_eq!(nearest(given, KNOWN), Some(meant), "{given}");
        }
    }

    #[test]
    fn word_like_no_other_suggests_nothing() {
        assert_eq!(nearest("colour", KNOWN), None);
    }
}
