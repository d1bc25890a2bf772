//! What a client takes: RFC 9110, section 12.5.

use axum::http::{HeaderMap, HeaderName, header};

/// Returns the kind that a client prefers among those there are; `None` where it says nothing, takes anything, or takes none of them.
///
/// Shape: the greatest weight wins; of several with one weight the one named first by the client. Only kinds that are named count, and no less
/// than what stands for any, so that `*/*` chooses nothing.
pub(crate) fn best(headers: &HeaderMap, kinds: &[&'static str]) -> Option<&'static str> {
    let mut best: Option<(&'static str, f64)> = None;
    let all = weighted(headers, &header::ACCEPT);
    let anything = all.iter().filter(|(name, _)| name.ends_with("/*")).map(|(_, weight)| *weight);
    let anything = anything.fold(0.0, f64::max);
    for (name, weight) in all {
        let found = kinds.iter().find(|kind| kind.eq_ignore_ascii_case(&name));
        if let Some(kind) = found
            && weight >= anything
            && weight > best.map_or(0.0, |(_, weight)| weight)
        {
            best = Some((kind, weight));
        }
    }
    best.map(|(kind, _)| kind)
}

/// Returns whether a client takes gzip and does not prefer to have none.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let all = weighted(headers, &header::ACCEPT_ENCODING);
    let of = |name: &str| {
        all.iter().find(|(coding, _)| coding.eq_ignore_ascii_case(name)).map(|(_, weight)| *weight)
    };
    let gzip = of("gzip").or_else(|| of("x-gzip")).or_else(|| of("*")).unwrap_or(0.0);
    gzip > 0.0 && gzip >= of("identity").unwrap_or(0.0)
}

/// Returns the items of a header with their weights; those whose weight is no number are left out.
fn weighted(headers: &HeaderMap, name: &HeaderName) -> Vec<(String, f64)> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let items = values.flat_map(|value| value.split(','));
    let item = |item: &str| {
        let mut pieces = item.split(';').map(str::trim);
        let name = pieces.next().filter(|name| !name.is_empty())?.to_owned();
        let weight = pieces.find_map(|piece| piece.strip_prefix(['q', 'Q'])?.strip_prefix('='));
        let weight = weight.map_or(Ok(1.0), str::parse).ok()?;
        Some((name, weight))
    };
    items.filter_map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 2] = ["application/json", "application/zip"];

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().expect("a value"))].into_iter().collect()
    }

    #[test]
    fn what_is_named_with_the_greatest_weight_is_chosen() {
        let best = |value: &str| best(&headers(header::ACCEPT, value), &KINDS);
        assert_eq!(best("application/zip"), Some("application/zip"));
        assert_eq!(best("Application/JSON;q=0.5, application/zip;q=0.6"), Some("application/zip"));
        assert_eq!(best("application/zip;q=0.5, application/json"), Some("application/json"));
        assert_eq!(best("application/json, application/zip"), Some("application/json"));
        assert_eq!(best("application/zip, */*"), Some("application/zip"));
        assert_eq!(best("*/*, application/zip;q=0.1"), None);
        for none in ["*/*", "text/html", "", "application/zip;q=0", "application/zip;q=x", ";q=1"] {
            assert_eq!(best(none), None, "{none}");
        }
        assert_eq!(super::best(&HeaderMap::new(), &KINDS), None);
    }

    #[test]
    fn gzip_is_taken_where_it_is_named_and_not_worse_than_none() {
        let takes = |value: &str| takes_gzip(&headers(header::ACCEPT_ENCODING, value));
        assert!(takes("gzip") && takes("deflate, gzip;q=1.0, *;q=0.5") && takes("*"));
        assert!(takes("x-gzip") && takes("gzip, identity"));
        assert!(!takes("") && !takes("br") && !takes("gzip;q=0") && !takes("identity, gzip;q=0.5"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
