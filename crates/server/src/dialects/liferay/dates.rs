//! Instants as the API writes them: `2023-01-01T00:00` or `2023-01-01T00:00:01.000Z`, always UTC.

use chrono::{DateTime, NaiveDateTime, Utc};

/// The two spellings: what each character is, and how they are read (LR-04).
const SPELLINGS: [(&[u8], &str); 2] = [
    (b"0000-00-00T00:00", "%Y-%m-%dT%H:%M"),
    (b"0000-00-00T00:00:00.000Z", "%Y-%m-%dT%H:%M:%S%.3fZ"),
];

/// Reads an instant; `None` for every other spelling, and for times that no day has.
///
/// LR-05: quotes around `T` and `Z`, which some shells leave in, are left out.
pub(super) fn parse(text: &str) -> Option<DateTime<Utc>> {
    let text = text.replace("'T'", "T").replace("'Z'", "Z");
    let fits = |shape: &[u8]| {
        let is_alike = |(shape, byte): (&u8, u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            sign => byte == *sign,
        };
        shape.len() == text.len() && shape.iter().zip(text.bytes()).all(is_alike)
    };
    let (_, form) = SPELLINGS.into_iter().find(|(shape, _)| fits(shape))?;
    let at = NaiveDateTime::parse_from_str(&text, form).ok()?;
    // A leap second is read as the second before and a fraction of more than one.
    (at.and_utc().timestamp_subsec_millis() < 1000).then(|| at.and_utc())
}

/// Writes an instant as answers have it (LR-08).
pub(super) fn render(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        parse(text).map(render)
    }

    #[test]
    fn both_spellings_are_read_with_and_without_quotes() {
        let full = Some("2022-01-01T00:00:01.000Z".to_owned());
        assert_eq!(read("2022-01-01T00:00:01.000Z"), full);
        assert_eq!(read("2022-01-01'T'00:00:01.000'Z'"), full);
        assert_eq!(read("2022-01-01T23:59").as_deref(), Some("2022-01-01T23:59:00.000Z"));
        assert_eq!(read("2024-02-29'T'00:00").as_deref(), Some("2024-02-29T00:00:00.000Z"));
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "2022-01-01",
            "2022-01-01T00:00:01",
            "2022-01-01T00:00:01Z",
            "2022-01-01T00:00Z",
            "2022-01-01T00:00:01.00Z",
            "2022-01-01T00:00:01.000",
            "2022-01-01T00:00:01.000+01:00",
            "2022-01-01 00:00",
            "2022-01-01t00:00",
            "2022-01-01T24:00",
            "2022-12-31T23:59:60.000Z",
            "2022-02-29T00:00",
            "2022-13-01T00:00",
            "+2022-01-01T00:00",
            "2022-01-01T00:00:01.000z",
            " 2022-01-01T00:00",
            "２022-01-01T00:00",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ms in 0_i64..253_402_300_800_000) {
            let at = DateTime::from_timestamp_millis(ms).expect("in range");
            prop_assert_eq!(parse(&render(at)), Some(at));
        }

        #[test]
        fn no_text_does_harm(text in ".{0,30}") {
            parse(&text);
        }
    }
}
