//! Dates as people write them.

use super::scan::Scan;

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Whether somebody alive in the last hundred years may be born then: a day of the calendar from 1880 to 2099.
pub(super) fn is_plausible(year: &str, month: &str, day: &str) -> bool {
    let (Ok(year), Ok(month), Ok(day)) = (year.parse::<u32>(), month.parse::<u32>(), day.parse::<u32>())
    else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 0,
    };
    (1880..=2099).contains(&year) && (1..=days).contains(&day)
}

/// The end of a date that starts at `at`: 1990-01-31, 31.1.1990, 1/31/1990, 1990年1月31日, 31 January 1990, Jan 31st, 1990.
pub(super) fn read(scan: Scan, at: usize) -> Option<usize> {
    let mut reader = Reader { scan, at };
    let end = if scan.byte(at).is_ascii_digit() { reader.number_first() } else { reader.month_first() }?;
    scan.ends_number(end).then_some(end)
}

struct Reader<'t> {
    scan: Scan<'t>,
    at: usize,
}

impl<'t> Reader<'t> {
    fn number_first(&mut self) -> Option<usize> {
        let first = self.digits()?;
        if let Some(month) = self.spaced(Self::month) {
            let year = self.spaced(Self::digits)?;
            return is_plausible(four(year)?, &month, first).then_some(self.at);
        }
        if self.token("年") {
            let month = self.digits()?;
            self.token("月").then_some(())?;
            let day = self.digits()?;
            let _ = self.token("日") || self.token("号");
            return is_plausible(four(first)?, month, day).then_some(self.at);
        }
        let separator = self.scan.byte(self.at);
        let part = |reader: &mut Self| {
            let same = matches!(separator, b'-' | b'.' | b'/') && reader.scan.byte(reader.at) == separator;
            reader.at += 1;
            if same { reader.digits() } else { None }
        };
        let (second, third) = (part(self)?, part(self)?);
        let fits = if first.len() == 4 {
            is_plausible(first, second, third)
        } else {
            // Day or month first: either way of reading it will do.
            is_plausible(four(third)?, second, first) || is_plausible(third, first, second)
        };
        fits.then_some(self.at)
    }

    fn month_first(&mut self) -> Option<usize> {
        let month = self.month()?;
        let day = self.spaced(Self::digits)?;
        let _ = self.token("st") || self.token("nd") || self.token("rd") || self.token("th");
        let _ = self.token(",");
        let year = self.spaced(Self::digits)?;
        is_plausible(four(year)?, &month, day).then_some(self.at)
    }

    fn token(&mut self, token: &str) -> bool {
        let stands = self.scan.slice(self.at..self.at + token.len()) == token;
        self.at += if stands { token.len() } else { 0 };
        stands
    }

    /// One space, then what `read` reads; stays where it is otherwise.
    fn spaced<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.at;
        let _ = self.token("st") || self.token("nd") || self.token("rd") || self.token("th");
        let found = if self.token(" ") { read(self) } else { None };
        self.at = if found.is_some() { self.at } else { before };
        found
    }

    fn digits(&mut self) -> Option<&'t str> {
        let end = self.scan.run(self.at, 5, |byte| byte.is_ascii_digit());
        let digits = self.scan.slice(self.at..end);
        self.at = end;
        matches!(digits.len(), 1 | 2 | 4).then_some(digits)
    }

    /// An English month, as its number.
    fn month(&mut self) -> Option<String> {
        let end = self.scan.run(self.at, 10, |byte| byte.is_ascii_alphabetic());
        let name = self.scan.lower.get(self.at..end)?.get(..3)?;
        let month = MONTHS.iter().position(|known| *known == name)?;
        self.at = end + usize::from(self.scan.byte(end) == b'.');
        Some((month + 1).to_string())
    }
}

fn four(year: &str) -> Option<&str> {
    (year.len() == 4).then_some(year)
}
