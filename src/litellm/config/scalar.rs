//! Scalars of YAML 1.1 as `PyYAML` reads them, and numbers as Python prints them.

use std::num::IntErrorKind;

use crate::litellm::config::pyyaml::YamlValue;

/// Tells the type of a plain scalar by its text.
///
/// Source: `PyYAML` 6.0.3 `yaml/resolver.py`; the types are tried in its order.
pub(crate) fn implicit_tag(text: &str) -> &'static str {
    const BOOLS: [&str; 18] = [
        "yes", "Yes", "YES", "no", "No", "NO", "true", "True", "TRUE", "false", "False", "FALSE",
        "on", "On", "ON", "off", "Off", "OFF",
    ];
    if BOOLS.contains(&text) {
        "bool"
    } else if is_float(text) {
        "float"
    } else if is_integer(text) {
        "int"
    } else if text == "<<" {
        "merge"
    } else if ["~", "null", "Null", "NULL", ""].contains(&text) {
        "null"
    } else if is_timestamp(text) {
        "timestamp"
    } else if text == "=" {
        "value"
    } else {
        "str"
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn all(text: &str, is_meant: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(is_meant)
}

/// Matches `[0-9][0-9_]*`.
fn is_digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && all(text, |c| c.is_ascii_digit() || c == '_')
}

/// Matches `(:[0-5]?[0-9])+`, the minutes and seconds of a number to the base of 60.
fn is_sexagesimal(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|text| {
        text.split(':').all(|part| match part.as_bytes() {
            [digit] => digit.is_ascii_digit(),
            [tens, digit] => (b'0'..=b'5').contains(tens) && digit.is_ascii_digit(),
            _ => false,
        })
    })
}

fn is_integer(text: &str) -> bool {
    let text = unsigned(text);
    if let Some(digits) = text.strip_prefix("0b") {
        return all(digits, |c| matches!(c, '0' | '1' | '_'));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, |c| c.is_ascii_hexdigit() || c == '_');
    }
    if let Some(digits) = text.strip_prefix('0') {
        return digits.chars().all(|c| matches!(c, '0'..='7' | '_'));
    }
    let head = text.find(':').unwrap_or(text.len());
    let (head, tail) = text.split_at(head);
    is_digits(head) && (tail.is_empty() || is_sexagesimal(tail))
}

fn is_float(text: &str) -> bool {
    let bare = unsigned(text);
    if matches!(bare, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, fraction)) = bare.split_once('.') else {
        return false;
    };
    if whole.contains(':') {
        let (head, tail) = whole.split_at(whole.find(':').unwrap_or(whole.len()));
        let fraction_fits = fraction.chars().all(|c| c.is_ascii_digit() || c == '_');
        return is_digits(head) && is_sexagesimal(tail) && fraction_fits;
    }
    let (fraction, exponent) = match fraction.find(['e', 'E']) {
        Some(at) => (
            fraction.get(..at).unwrap_or_default(),
            fraction.get(at + 1..),
        ),
        None => (fraction, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']);
        digits.is_some_and(|digits| all(digits, |c| c.is_ascii_digit()))
    });
    if whole.is_empty() {
        // Without digits before the point there is no sign.
        return bare.len() == text.len() && is_digits(fraction) && exponent_fits;
    }
    is_digits(whole) && fraction.chars().all(|c| c.is_ascii_digit() || c == '_') && exponent_fits
}

/// Matches a date, or a date with a time.
fn is_timestamp(text: &str) -> bool {
    let digits = |text: &str, least: usize, most: usize| {
        (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if !digits(year, 4, 4) {
        return false;
    }
    if digits(month, 2, 2) && digits(rest, 2, 2) {
        return true;
    }
    let Some(end) = rest.find(['T', 't', ' ', '\t']) else {
        return false;
    };
    let (day, time) = rest.split_at(end);
    let time = time
        .strip_prefix(['T', 't'])
        .unwrap_or_else(|| time.trim_start_matches([' ', '\t']));
    let mut parts = time.splitn(3, ':');
    let (Some(hour), Some(minute), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (second, rest) = rest.split_at_checked(2).unwrap_or((rest, ""));
    let rest = rest.strip_prefix('.').map_or(rest, |fraction| {
        fraction.trim_start_matches(|c: char| c.is_ascii_digit())
    });
    let zone = rest.trim_start_matches([' ', '\t']);
    let offset = zone.strip_prefix(['-', '+']).is_some_and(|offset| {
        let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "00"));
        digits(hours, 1, 2) && digits(minutes, 2, 2)
    });
    digits(month, 1, 2)
        && digits(day, 1, 2)
        && digits(hour, 1, 2)
        && digits(minute, 2, 2)
        && digits(second, 2, 2)
        && (rest.is_empty() || zone == "Z" || offset)
}

/// Reads an integer. One of more than 38 digits becomes [`YamlValue::Other`].
pub(crate) fn integer(text: &str) -> Option<YamlValue> {
    let digits = text.replace('_', "");
    let is_negative = digits.starts_with('-');
    let digits = unsigned(&digits);
    let number = if digits == "0" {
        Ok(0)
    } else if let Some(digits) = digits.strip_prefix("0b") {
        i128::from_str_radix(digits, 2)
    } else if let Some(digits) = digits.strip_prefix("0x") {
        i128::from_str_radix(digits, 16)
    } else if digits.starts_with('0') {
        i128::from_str_radix(digits, 8)
    } else {
        let mut number = Ok(0_i128);
        for part in digits.split(':') {
            let part = part.parse::<i128>();
            number = match (number, part) {
                (Ok(number), Ok(part)) => {
                    let Some(sum) = number.checked_mul(60).and_then(|n| n.checked_add(part)) else {
                        return Some(YamlValue::Other);
                    };
                    Ok(sum)
                }
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        number
    };
    match number {
        Ok(number) if is_negative => Some(YamlValue::Int((-number).to_string())),
        Ok(number) => Some(YamlValue::Int(number.to_string())),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => Some(YamlValue::Other),
            IntErrorKind::Empty | IntErrorKind::InvalidDigit | IntErrorKind::Zero | _ => None,
        },
    }
}

/// Reads a floating-point number.
pub(crate) fn float(text: &str) -> Option<YamlValue> {
    let digits = text.replace('_', "").to_ascii_lowercase();
    let sign = if digits.starts_with('-') { -1.0 } else { 1.0 };
    let digits = unsigned(&digits);
    let number = match digits {
        ".inf" => f64::INFINITY,
        ".nan" => return Some(YamlValue::Float(f64::NAN)),
        digits => {
            let mut number = 0.0;
            for part in digits.split(':') {
                number = number * 60.0 + part.parse::<f64>().ok()?;
            }
            number
        }
    };
    Some(YamlValue::Float(sign * number))
}

/// Prints a number as Python's `repr` does: the shortest digits, and an exponent from 16 digits on.
pub(crate) fn printed_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if (-4..16).contains(&exponent) => format!("{number:?}"),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        Err(_) => scientific,
    }
}
