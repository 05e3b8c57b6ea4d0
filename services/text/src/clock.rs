//! `strftime_now` of chat templates.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The present moment, in UTC, by a `strftime` pattern.
pub(crate) fn strftime_now(pattern: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    strftime(pattern, now)
}

/// Seconds since 1970 by a pattern of `%Y %y %m %d %e %b %B %a %A %H %I %M %S %p %j %F %T %Z %%`; `%-d` and the like
/// drop leading zeros. A directive outside this list stays as it is written.
fn strftime(pattern: &str, seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let month_name = MONTHS[month as usize - 1];
    // 1970-01-01 was a Thursday.
    let day_name = DAYS[((days + 4) % 7) as usize];
    let mut text = String::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let mut directive = rest.next();
        let bare = directive == Some('-');
        if bare {
            directive = rest.next();
        }
        let number =
            |value: u64, width: usize| if bare { value.to_string() } else { format!("{value:0width$}") };
        text += &match directive {
            Some('Y') => number(year, 4),
            Some('y') => number(year % 100, 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('e') => format!("{day:2}"),
            Some('b') => month_name[..3].to_owned(),
            Some('B') => month_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('A') => day_name.to_owned(),
            Some('H') => number(hour, 2),
            Some('I') => number((hour + 11) % 12 + 1, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second % 60, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('j') => number(day_of_year(year, days), 3),
            Some('F') => strftime("%Y-%m-%d", seconds),
            Some('T') => strftime("%H:%M:%S", seconds),
            Some('Z') => "UTC".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{}{other}", if bare { "-" } else { "" }),
            None => "%".to_owned(),
        };
    }
    text
}

/// Year, month and day of a number of days since 1970-01-01, by the era method of Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn day_of_year(year: u64, days: u64) -> u64 {
    let before = year - 1;
    let since_year_one = before * 365 + before / 4 - before / 100 + before / 400;
    // 1970-01-01 is day 719,162 counted from 0001-01-01.
    days + 719_162 - since_year_one + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        // `date -u -d @SECONDS +PATTERN` of GNU coreutils gave these.
        let pattern = "%d %b %Y, %A %B %-d %j %H:%M:%S %y %I %p %e %F %% %q";
        assert_eq!(
            strftime(pattern, 0),
            "01 Jan 1970, Thursday January 1 001 00:00:00 70 12 AM  1 1970-01-01 % %q"
        );
        assert_eq!(
            strftime(pattern, 1_709_210_096),
            "29 Feb 2024, Thursday February 29 060 12:34:56 24 12 PM 29 2024-02-29 % %q"
        );
        assert_eq!(strftime("%F %j %a", 4_102_444_799), "2099-12-31 365 Thu");
    }
}
