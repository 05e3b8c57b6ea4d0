//! Numbers that money moves by: payment cards (ISO/IEC 7812-1) and bank accounts (ISO 13616).

use super::{Finding, Kind, scan::Scan};

const CARD_WORDS: &[&str] =
    &["card", "visa", "mastercard", "amex", "credit", "debit", "卡号", "信用卡", "银行卡", "カード", "银联"];

/// How the digits of a card stand in groups: as embossed.
const CARD_GROUPS: &[&[usize]] = &[&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3], &[6, 13]];

/// `at` is the place of a digit.
pub(super) fn card(scan: Scan, at: usize) -> Option<Finding> {
    if !scan.starts_number(at) {
        return None;
    }
    let mut digits = Vec::with_capacity(24);
    let mut groups = Vec::with_capacity(5);
    let mut separator = None;
    let (mut end, mut best) = (at, None);
    while groups.len() < 5 {
        let stop = scan.run(end, 20, |byte| byte.is_ascii_digit());
        digits.extend(scan.slice(end..stop).bytes().map(|byte| byte - b'0'));
        groups.push(stop - end);
        let grouped = CARD_GROUPS.contains(&groups.as_slice());
        if (groups.len() == 1 || grouped) && scan.ends_number(stop) && is_issued(&digits) && luhn(&digits) {
            best = Some((stop, grouped));
        }
        let next = scan.byte(stop);
        let goes_on = matches!(next, b' ' | b'-') && separator.is_none_or(|known| known == next);
        if !goes_on || !scan.byte(stop + 1).is_ascii_digit() {
            break;
        }
        (separator, end) = (Some(next), stop + 1);
    }
    let (end, grouped) = best?;
    let confidence = if grouped || scan.follows(at, CARD_WORDS) { 0.97 } else { 0.9 };
    scan.found(Kind::Card, at..end, confidence)
}

/// Prefixes and lengths of the networks, as in their own documents: Visa, Mastercard, American Express, Discover, Diners
/// Club, JCB, UnionPay, Mir, RuPay. Maestro is left out: its prefixes and 12 to 19 digits fit a tenth of all numbers.
fn is_issued(digits: &[u8]) -> bool {
    let prefix = digits.iter().take(4).fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
    matches!(
        (prefix, digits.len()),
        (4000..=4999, 13 | 16 | 19)
            | (5100..=5599 | 2221..=2720, 16)
            | (3400..=3499 | 3700..=3799, 15)
            | (3000..=3059 | 3095 | 3600..=3699 | 3800..=3999, 14..=19)
            | (6011 | 6440..=6599 | 3528..=3589 | 6200..=6299 | 2200..=2204, 16..=19)
            | (6000..=6099 | 8100..=8299 | 5080..=5089, 16)
    )
}

/// ISO/IEC 7812-1, annex B.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit < 5 { 2 * digit } else { 2 * digit - 9 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, digit)| u32::from(if n % 2 == 1 { doubled(*digit) } else { *digit }))
        .sum();
    sum.is_multiple_of(10)
}

/// Countries and lengths of the IBAN registry of SWIFT, release 99.
const IBAN_LENGTHS: &[(usize, &str)] = &[
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FK FO GL NL SD"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH HR LI LV"),
    (22, "BG BH CR DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "LY PT ST"),
    (26, "IS TR"),
    (27, "BI DJ FR GR IT MC SM"),
    (28, "AL AZ BY CY DO GT HU LB NI PL SV"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
];

/// `at` is the place of a letter: solid, or in groups of four as on paper.
pub(super) fn iban(scan: Scan, at: usize) -> Option<Finding> {
    let country = scan.slice(at..at + 2);
    let check = scan.slice(at + 2..at + 4);
    if !check.bytes().all(|byte| byte.is_ascii_digit()) || check.is_empty() || !scan.starts(at) {
        return None;
    }
    let mut countries = IBAN_LENGTHS.iter().filter(|(_, all)| all.split(' ').any(|known| known == country));
    let (length, _) = *countries.next()?;
    let spaced = scan.byte(at + 4) == b' ';
    let end = at + length + if spaced { (length - 1) / 4 } else { 0 };
    let mut number = Vec::with_capacity(length);
    for (n, byte) in scan.slice(at..end).bytes().enumerate() {
        match byte {
            b' ' if spaced && n % 5 == 4 => {}
            b'0'..=b'9' | b'A'..=b'Z' if !(spaced && n % 5 == 4) => number.push(byte),
            _ => return None,
        }
    }
    if number.len() != length || !scan.ends(end) || mod_97(&number) != 1 {
        return None;
    }
    scan.found(Kind::Iban, at..end, 0.98)
}

/// ISO 7064, MOD 97-10, over the number with its first four characters moved to the end and letters as 10 to 35.
fn mod_97(number: &[u8]) -> u32 {
    let (head, tail) = number.split_at(number.len().min(4));
    tail.iter().chain(head).fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.saturating_sub(b'A')) + 10) % 97,
    })
}
