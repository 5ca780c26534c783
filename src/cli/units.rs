//! Spans of time, times and sizes, as people write and read them.

use jiff::Timestamp;

/// Reads `3d`, `12h`, `90m` or `45s` as seconds; nothing, less and without a unit are refused.
pub(super) fn parse_span(text: &str) -> Result<u64, String> {
    let expected = || "expected a number above 0 and a unit: 3d, 12h, 90m or 45s".to_string();
    let unit = text.chars().last().ok_or_else(expected)?;
    let (_, secs) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    match digits.parse::<u64>().ok().and_then(|count| count.checked_mul(*secs)) {
        Some(0) => Err(expected()),
        Some(secs) if secs <= SPAN_SECS_MAX => Ok(secs),
        _ => Err("expected at most ten years".into()),
    }
}

/// `7 days`, `1 hour`, `90 seconds`: in the largest unit that loses nothing.
pub(super) fn span(secs: u64) -> String {
    let exact = |unit: u64| secs >= unit && secs.is_multiple_of(unit);
    match secs {
        _ if exact(86_400) => count(secs / 86_400, "day"),
        _ if exact(3_600) => count(secs / 3_600, "hour"),
        _ if exact(60) => count(secs / 60, "minute"),
        _ => count(secs, "second"),
    }
}

/// `4 minutes`: rounded down to the largest unit that there is one of.
pub(super) fn about(secs: u64) -> String {
    match secs {
        172_800.. => count(secs / 86_400, "day"),
        7_200.. => count(secs / 3_600, "hour"),
        120.. => count(secs / 60, "minute"),
        _ => count(secs, "second"),
    }
}

/// `1 envelope`, `2 envelopes`.
pub(super) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `1.5 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let steps = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut step = 0;
    while value >= 1_024.0 && step + 1 < steps.len() {
        value /= 1_024.0;
        step += 1;
    }
    if step == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", steps[step]) }
}

/// `2027-01-15 08:00:00 UTC`.
pub(super) fn time(secs: u64) -> String {
    let time = i64::try_from(secs).ok().and_then(|secs| Timestamp::from_second(secs).ok());
    time.map_or_else(|| format!("{secs} s"), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// `2027-01-14`: the day on which a week of the protocol begins.
pub(super) fn week(number: u64) -> String {
    day(number.saturating_mul(604_800))
}

/// `2027-01-15`.
pub(super) fn day(secs: u64) -> String {
    time(secs).split(' ').next().unwrap_or_default().to_string()
}

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// Far beyond everything that a relay keeps, far below what overflows a sum.
const SPAN_SECS_MAX: u64 = 3_650 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_number_above_zero_and_a_unit() {
        assert_eq!(parse_span("3d"), Ok(259_200));
        assert_eq!(parse_span("12h"), Ok(43_200));
        assert_eq!(parse_span("90m"), Ok(5_400));
        assert_eq!(parse_span("45s"), Ok(45));
        for bad in ["", "0", "0d", "-1", "-1d", "abc", "3", "d", "3 d", "+3d", "3dé", "1.5h", "99999999999999999999d", "3651d"]
        {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_read_sizes_and_times() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(span(604_800), "7 days");
        assert_eq!(span(90), "90 seconds");
        assert_eq!(about(200), "3 minutes");
        assert_eq!(count(1, "envelope"), "1 envelope");
        assert_eq!(time(1_800_000_000), "2027-01-15 08:00:00 UTC");
        assert_eq!(week(1_800_000_000 / 604_800), "2027-01-14");
        assert_eq!(day(1_800_000_000), "2027-01-15");
    }
}
