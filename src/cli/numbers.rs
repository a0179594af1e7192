//! Reads the numbers of options and of the variables that stand for them. The errors say what is
//! wanted; clap puts the name of the option or of the variable before them.

use std::time::Duration;

/// Reads a whole number.
pub(crate) fn whole_number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| {
        let most = usize::MAX;
        format!("must be a whole number from 0 to {most}")
    })
}

/// Reads a number of days.
pub(crate) fn days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| *days > 0);
    days.ok_or_else(|| format!("must be a whole number of days from 1 to {}", u32::MAX))
}

/// Reads a percentage.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok();
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "must be a number from 0 to 100".to_owned())
}

/// Reads a time in seconds, which may be 0.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    // PostgreSQL keeps these settings as a 32-bit number of milliseconds.
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.0..=2_147_483.0).contains(seconds));
    let Some(seconds) = seconds else {
        return Err("must be a number of seconds from 0 to 2147483".to_owned());
    };
    if seconds > 0.0 && seconds < 0.001 {
        // The server would round it to 0.
        return Err("must be 0 or at least 0.001 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads a time in seconds that is not 0.
pub(crate) fn positive_seconds(text: &str) -> Result<Duration, String> {
    // 0 would mean "wait for ever" to the server.
    let in_range = seconds(text)
        .ok()
        .filter(|d| *d >= Duration::from_millis(10));
    in_range.ok_or_else(|| "must be a number of seconds from 0.01 to 2147483".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_seconds_within_what_the_server_takes() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for text in ["-1", "x", "NaN", "inf", "2147484", "0.0004"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(positive_seconds("0").is_err());
        assert!(positive_seconds("0.001").is_err());
        assert_eq!(positive_seconds("5"), Ok(Duration::from_secs(5)));
    }

    #[test]
    fn a_number_is_whole_or_within_its_range() {
        assert_eq!(whole_number("0"), Ok(0));
        assert_eq!(days("1"), Ok(1));
        assert_eq!(percent("12.5"), Ok(12.5));
        for text in ["", "x", "-1", "1.5", "99999999999999999999"] {
            assert!(whole_number(text).is_err(), "{text}");
            assert!(days(text).is_err(), "{text}");
        }
        assert!(days("0").is_err());
        for text in ["", "x", "-1", "100.1", "NaN", "50%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
