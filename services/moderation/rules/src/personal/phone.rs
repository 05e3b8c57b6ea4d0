//! Telephone numbers: international ones (ITU-T E.164, 15 digits at most), Chinese ones after the numbering plan of the
//! ministry (MIIT: mobile 1[3-9] with 11 digits, areas 010, 02x and 03xx to 09xx), North American ones after the NANP
//! (area and exchange NXX, neither of them N11).

use super::{Finding, Kind, scan::Scan};

/// Digits of a number and what stands between them: "+49 (0) 30 / 1234 5678".
const REACH: usize = 28;

/// E.164's 15 digits with "00" before them.
const DIGITS: usize = 17;

const WORDS: &[&str] = &[
    "phone",
    "tel",
    "telephone",
    "call",
    "mobile",
    "cell",
    "whatsapp",
    "sms",
    "fax",
    "电话",
    "手机",
    "致电",
    "座机",
    "联系方式",
    "電話",
    "携帯",
    "전화",
    "teléfono",
    "téléphone",
    "telefon",
    "handy",
];

/// A number as it is written: digits in groups.
struct Written {
    digits: Vec<u8>,
    groups: Vec<usize>,
    end: usize,
}

/// `at` is the place of a digit, or of a `+` or `(` before one.
pub(super) fn find(scan: Scan, at: usize) -> Option<Finding> {
    if !scan.starts_number(at) {
        return None;
    }
    let plus = scan.byte(at) == b'+';
    // The longest reading that is a number: what follows may be another one.
    let mut written = read(scan, at + usize::from(plus))?;
    loop {
        match confidence(scan, at, plus, &written) {
            Some(confidence) if scan.ends_number(written.end) => {
                return scan.found(Kind::Phone, at..written.end, confidence);
            }
            _ => written = written.without_last_part(scan)?,
        }
    }
}

fn confidence(scan: Scan, at: usize, plus: bool, number: &Written) -> Option<f32> {
    let digits = number.digits.as_slice();
    let solid = number.groups.len() == 1;
    if plus {
        return match digits {
            [b'1', national @ ..] => is_nanp(national).then_some(0.9),
            [b'8', b'6', national @ ..] => {
                (is_chinese_mobile(national) || is_chinese_landline(national)).then_some(0.95)
            }
            [b'0', ..] => None,
            _ if (8..=15).contains(&digits.len()) => Some(0.85),
            _ => None,
        };
    }
    let chinese = match digits {
        [b'0', b'0', b'8', b'6', national @ ..] | [b'8', b'6', national @ ..] => national,
        all => all,
    };
    let mobile_groups = matches!(number.groups.as_slice(), [11 | 13 | 15] | [.., 3, 4, 4] | [.., 11]);
    if is_chinese_mobile(chinese) && mobile_groups {
        return Some(if scan.follows(at, WORDS) { 0.95 } else { 0.85 });
    }
    let area = match digits {
        [b'0', b'1' | b'2', ..] => 3,
        _ => 4,
    };
    if digits.first() == Some(&b'0')
        && number.groups.first() == Some(&area)
        && is_chinese_landline(digits.get(1..)?)
    {
        return (number.groups.len() <= 3).then_some(0.8);
    }
    let national = digits.strip_prefix(b"1").unwrap_or(digits);
    let grouped = matches!(number.groups.as_slice(), [3, 3, 4] | [1, 3, 3, 4] | [3, 7]);
    if is_nanp(national) && (grouped || solid && national.len() == digits.len() && scan.follows(at, WORDS)) {
        return Some(if solid { 0.7 } else { 0.85 });
    }
    None
}

fn is_nanp(digits: &[u8]) -> bool {
    match digits {
        [a, b, c, x, y, z, _, _, _, _] => {
            *a >= b'2' && *x >= b'2' && !(*b == b'1' && *c == b'1') && !(*y == b'1' && *z == b'1')
        }
        _ => false,
    }
}

fn is_chinese_mobile(digits: &[u8]) -> bool {
    matches!(digits, [b'1', b'3'..=b'9', ..]) && digits.len() == 11
}

/// Without the 0 in front of the area.
fn is_chinese_landline(digits: &[u8]) -> bool {
    let local = match digits {
        [b'1', b'0', local @ ..] | [b'2', _, local @ ..] if local.len() == 8 => local,
        [b'3'..=b'9', _, _, local @ ..] if (7..=8).contains(&local.len()) => local,
        _ => return false,
    };
    matches!(local, [b'2'..=b'8', ..])
}

/// Digits, with single separators or a pair of parentheses between groups.
fn read(scan: Scan, start: usize) -> Option<Written> {
    let mut written = Written { digits: Vec::with_capacity(20), groups: Vec::with_capacity(8), end: start };
    let mut at = start;
    let mut open = false;
    // Digits and groups before the bracket that is open, and where they end.
    let mut outside = (0, 0, start);
    while at < start + REACH {
        let stop = scan.run(at, REACH, |byte| byte.is_ascii_digit());
        // Another number stands behind this one.
        if written.digits.len() + stop - at > DIGITS {
            break;
        }
        if stop > at {
            // "+44 (0) 20": the 0 is dialled at home only.
            let dropped = open && scan.slice(at..stop) == "0" && !written.digits.is_empty();
            if !dropped {
                written.digits.extend_from_slice(scan.slice(at..stop).as_bytes());
                written.groups.push(stop - at);
            }
            written.end = stop;
        } else if written.digits.is_empty() && scan.byte(at) != b'(' {
            return None;
        }
        let (open_next, next) = match (scan.byte(stop), scan.byte(stop + 1), scan.byte(stop + 2)) {
            (b'(', b'0'..=b'9', _) if !open => (true, stop + 1),
            (b' ' | b'-', b'(', b'0'..=b'9') if !open && stop > at => (true, stop + 2),
            (b')', b' ' | b'-', b'0'..=b'9') if open => (false, stop + 2),
            (b')', b'0'..=b'9', _) if open => (false, stop + 1),
            (b' ' | b'-' | b'.' | b'/', b'0'..=b'9', _) if !open && stop > at => (false, stop + 1),
            _ => break,
        };
        if open_next && !open {
            outside = (written.digits.len(), written.groups.len(), written.end);
        }
        (open, at) = (open_next, next);
    }
    // A bracket that nobody closes belongs to what follows.
    if open {
        let (digits, groups, end) = outside;
        written.digits.truncate(digits);
        written.groups.truncate(groups);
        written.end = end;
    }
    (written.digits.len() >= 7).then_some(written)
}

impl Written {
    /// The same without what stands behind its last space: only a space parts two numbers.
    fn without_last_part(mut self, scan: Scan) -> Option<Self> {
        loop {
            let last = self.groups.pop()?;
            self.digits.truncate(self.digits.len().saturating_sub(last));
            let start = self.end.saturating_sub(last);
            self.end = start.saturating_sub(1);
            match scan.before(start) {
                _ if self.digits.len() < 8 => return None,
                b' ' => return Some(self),
                _ => {}
            }
        }
    }
}
