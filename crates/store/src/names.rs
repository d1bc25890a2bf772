//! The nearest name, for "did you mean".

/// Returns the candidate nearest to `name`, if one is near enough to be meant.
///
/// Shape: at most one edit for each three characters, two at least; letters of another case are no edit.
pub(crate) fn nearest(name: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    let asked = name.to_lowercase();
    let edits_max = (name.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&asked, &candidate.to_lowercase()), candidate)
        })
        .filter(|(edits, candidate)| *edits <= edits_max && *edits < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    fn among(name: &str) -> Option<String> {
        nearest(name, ["orders", "order_lines", "people"].map(String::from))
    }

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        assert_eq!(among("ordesr").as_deref(), Some("orders"));
        assert_eq!(among("ORDERS").as_deref(), Some("orders"));
        assert_eq!(among("order_line").as_deref(), Some("order_lines"));
    }

    #[test]
    fn another_word_is_not() {
        assert_eq!(among("invoices"), None);
        assert_eq!(among(""), None);
    }
}
