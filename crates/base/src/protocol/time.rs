//! Times are whole Unix seconds; an expiry stands on the full hour.

/// The seconds of an hour.
pub const HOUR: u64 = 3_600;
/// The seconds of a day.
pub const DAY: u64 = 86_400;
/// The seconds of a week: the longest retention there is.
pub const WEEK: u64 = 604_800;

/// The smallest full hour not before `t`.
pub fn ceil_hour(t: u64) -> u64 {
    t.div_ceil(HOUR) * HOUR
}

/// The largest full hour not after `t`.
pub fn floor_hour(t: u64) -> u64 {
    t / HOUR * HOUR
}

/// When an envelope that arrives at `now` for `expires_in` seconds ends, the relay keeping nothing beyond `retention`.
///
/// Rounded up to the hour, so that it tells no arrival time, but never past the last full hour of the retention.
pub fn envelope_expiry(now: u64, expires_in: u64, retention: u64) -> u64 {
    ceil_hour(now.saturating_add(expires_in)).min(floor_hour(now.saturating_add(retention)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_a_full_hour_within_the_retention() {
        let now = 1_000 * HOUR + 10;
        assert_eq!(envelope_expiry(now, HOUR, WEEK), 1_002 * HOUR);
        assert_eq!(envelope_expiry(now, WEEK, WEEK), 1_168 * HOUR);
        assert_eq!(envelope_expiry(1_000 * HOUR, WEEK, WEEK), 1_168 * HOUR);
        assert_eq!(envelope_expiry(1_000 * HOUR, HOUR, WEEK), 1_001 * HOUR);
    }
}
