//! Names inside SQL text.

/// Returns a name as SQL, quoted so that every name is safe.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quotes_inside_a_name_are_doubled() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }
}
