//! Decimal numbers from their text, digit by digit.

use model::schema::Type;

/// Returns the digits of a number as the decimal type counts them, behind their sign; `None` if some would
/// be lost or there are too many.
///
/// Shape: `1.5e1` is `1500` with two digits behind the point.
pub(super) fn decimal(text: &str, kind: &Type) -> Option<String> {
    let Type::Decimal { precision, scale } = kind else { return None };
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What is missing behind the last digit; negative if there are more than the scale keeps.
    let behind = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
    let missing = i64::from(*scale) - behind;
    if digits.bytes().all(|byte| byte == b'0') {
        return Some("0".into());
    }
    if missing < 0 {
        let kept = digits.len().checked_sub(usize::try_from(-missing).ok()?)?;
        if digits.split_off(kept).bytes().any(|byte| byte != b'0') {
            return None;
        }
    }
    let zeros = usize::try_from(missing.max(0)).ok()?;
    let digits = digits.trim_start_matches('0');
    (digits.len().checked_add(zeros)? <= usize::from(*precision))
        .then(|| format!("{sign}{digits}{}", "0".repeat(zeros)))
}
