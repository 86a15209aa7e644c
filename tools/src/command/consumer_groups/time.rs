//! Points in time and durations as Kafka's flags write them (ISO 8601).

/// Milliseconds since 1970 of `YYYY-MM-DDTHH:mm:SS[.sss][zone]`; UTC unless a zone (`Z`, `+02`, `+0200`, `+02:00`) follows.
pub(super) fn parse_datetime(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T')?;
    let zone_start = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_start);
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (
        number(date.next()?)?,
        number(date.next()?)?,
        number(date.next()?)?,
    );
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (number(time.next()?)?, number(time.next()?)?);
    let (second, millis) = match time.next()?.split_once('.') {
        Some((second, fraction)) => (number(second)?, fraction_millis(fraction)?),
        None => return None,
    };
    let valid = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - parse_zone(zone)?) * 1000 + millis)
}

/// Milliseconds of `PnDTnHnMn.nS`; any part may be missing or negative, as Java allows.
pub(super) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let text = text.to_ascii_uppercase();
    let text = text.strip_prefix('P')?;
    let (days, times) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((days, times)) => (days, times),
        None => (text, ""),
    };
    if days.is_empty() && times.is_empty() {
        return None;
    }
    let mut millis = 0_i64;
    let mut rest = days;
    millis = millis.checked_add(take(&mut rest, 'D', 86_400_000)?)?;
    if !rest.is_empty() {
        return None;
    }
    let mut rest = times;
    millis = millis.checked_add(take(&mut rest, 'H', 3_600_000)?)?;
    millis = millis.checked_add(take(&mut rest, 'M', 60_000)?)?;
    if let Some(seconds) = rest.strip_suffix('S') {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let fraction = fraction_millis(fraction)?;
        let fraction = if whole.starts_with('-') {
            -fraction
        } else {
            fraction
        };
        let whole: i64 = whole.parse().ok()?;
        millis = millis
            .checked_add(whole.checked_mul(1000)?)?
            .checked_add(fraction)?;
    } else if !rest.is_empty() {
        return None;
    }
    Some(if negative { -millis } else { millis })
}

/// Takes `n` and the unit off the front, if the unit is there.
fn take(rest: &mut &str, unit: char, millis: i64) -> Option<i64> {
    let Some((count, after)) = rest.split_once(unit) else {
        return Some(0);
    };
    *rest = after;
    count.parse::<i64>().ok()?.checked_mul(millis)
}

fn number(text: &str) -> Option<i64> {
    let digits =
        !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// The first three digits behind the point.
fn fraction_millis(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{text}00").get(..3)?.parse().ok()
}

/// Seconds east of Greenwich.
fn parse_zone(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone
        .get(1..)?
        .chars()
        .filter(|letter| *letter != ':')
        .collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits)?, 0),
        4 => (number(digits.get(..2)?)?, number(digits.get(2..)?)?),
        _ => return None,
    };
    Some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    // 719162 days lie between 0001-01-01 and 1970-01-01.
    let years = before * 365 + leap_days - 719_162;
    let months: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datetime_is_utc_unless_a_zone_follows() {
        // date -u -d 2024-02-29T12:30:15.250 +%s
        assert_eq!(
            parse_datetime("2024-02-29T12:30:15.250"),
            Some(1_709_209_815_250)
        );
        assert_eq!(parse_datetime("1970-01-01T00:00:00.000Z"), Some(0));
        assert_eq!(parse_datetime("1970-01-01T02:00:00.000+02:00"), Some(0));
        assert_eq!(
            parse_datetime("1970-01-01T00:00:00.000-0130"),
            Some(5_400_000)
        );
        assert_eq!(
            parse_datetime("2030-01-01T00:00:00.000"),
            Some(1_893_456_000_000)
        );
        for wrong in [
            "2024-02-30T00:00:00.000",
            "2024-02-01",
            "2024-13-01T00:00:00.000",
            "x",
        ] {
            assert_eq!(parse_datetime(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_adds_up_its_parts() {
        assert_eq!(parse_duration("P1DT2H3M4.5S"), Some(93_784_500));
        assert_eq!(parse_duration("PT30M"), Some(1_800_000));
        assert_eq!(parse_duration("P7D"), Some(604_800_000));
        assert_eq!(parse_duration("-PT1S"), Some(-1000));
        for wrong in ["P", "PT", "1D", "P1", "PT1", "P1H"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
