//! Resource quantities (`apimachinery/pkg/api/resource`): `100m`, `1.5Gi`, `2e3`.

/// What Kubernetes says of anything else.
pub(in crate::kinds) const SYNTAX: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Decimal suffixes by power of ten.
const DECIMAL: [(&str, i32); 9] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15)];
const EXA: (&str, i32) = ("E", 18);
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// The value in nano-units (rounded up, as Kubernetes does), `None` when the text is no quantity or too large.
pub(in crate::kinds) fn nanos(text: &str) -> Option<i128> {
    parse(text).map(|(nanos, _)| nanos)
}

/// The form in which Kubernetes writes the quantity: `1000m` → `1`, `0.5` → `500m`, `1024Ki` → `1Mi`.
pub(in crate::kinds) fn canonical(text: &str) -> Option<String> {
    let (nanos, format) = parse(text)?;
    if nanos == 0 {
        return Some("0".to_owned());
    }
    let unit = 1_000_000_000_i128;
    if format == Format::Binary && nanos % unit == 0 && (nanos / unit).abs() >= 1024 {
        let whole = nanos / unit;
        let (suffix, shift) =
            BINARY.iter().rev().find(|(_, shift)| whole % (1_i128 << shift) == 0).copied().unwrap_or(("", 0));
        return Some(format!("{}{suffix}", whole >> shift));
    }
    let (mut mantissa, mut exponent) = (nanos, -9);
    while mantissa % 1000 == 0 && exponent < 18 {
        mantissa /= 1000;
        exponent += 3;
    }
    if format == Format::Exponent {
        return Some(if exponent == 0 { mantissa.to_string() } else { format!("{mantissa}e{exponent}") });
    }
    let suffix =
        DECIMAL.iter().chain([&EXA]).find(|(_, power)| *power == exponent).map_or("", |(suffix, _)| suffix);
    Some(format!("{mantissa}{suffix}"))
}

fn parse(text: &str) -> Option<(i128, Format)> {
    let digits_end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (negative, number) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || digits.len() > 36 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut value: i128 = digits.parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?;
    let (power, format) = match BINARY.iter().find(|(name, _)| *name == suffix) {
        Some((_, shift)) => {
            value = value.checked_mul(1_i128 << shift)?;
            (9 - scale, Format::Binary)
        }
        None => {
            let (power, format) = decimal(suffix)?;
            (power + 9 - scale, format)
        }
    };
    let nanos = if power >= 0 {
        value.checked_mul(10_i128.checked_pow(u32::try_from(power).ok()?)?)?
    } else {
        let divisor = 10_i128.checked_pow(power.unsigned_abs())?;
        value / divisor + i128::from(value % divisor != 0)
    };
    Some((if negative { -nanos } else { nanos }, format))
}

fn decimal(suffix: &str) -> Option<(i32, Format)> {
    if let Some((_, power)) = DECIMAL.iter().chain([&EXA]).find(|(name, _)| *name == suffix) {
        return Some((*power, Format::Decimal));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-30..=30).contains(&exponent).then_some((exponent, Format::Exponent))
}
