//! Numbers and dates that name a person: Chinese resident ids, US social security numbers, passports, dates of birth.

use super::{Finding, Kind, date, scan::Scan};

const RESIDENT_WORDS: &[&str] = &["身份证", "身份號", "证件号", "公民身份", "id card", "resident id"];
const SSN_WORDS: &[&str] = &["ssn", "social security", "soc sec", "社会安全号", "社安号"];
const PASSPORT_WORDS: &[&str] = &[
    "passport",
    "护照",
    "護照",
    "旅券",
    "パスポート",
    "여권",
    "passeport",
    "pasaporte",
    "reisepass",
    "passaporto",
];
const BIRTH_WORDS: &[&str] = &[
    "born",
    "date of birth",
    "birth date",
    "birthdate",
    "birthday",
    "dob",
    "d.o.b.",
    "出生",
    "生日",
    "生于",
    "誕生日",
    "生年月日",
];

/// Provinces in the first two digits (GB/T 2260), with Taiwan, Hong Kong, Macao and the 83 of residents from Taiwan.
const PROVINCES: &[u32] = &[
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54,
    61, 62, 63, 64, 65, 71, 81, 82, 83,
];

/// Weights of the 17 digits (GB 11643-1999, after ISO 7064 MOD 11-2): powers of 2 modulo 11.
const RESIDENT_WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/// `at` is the place of a digit: 18 characters with a check digit, or the 15 digits of before 1999 beside a word.
pub(super) fn resident_id(scan: Scan, at: usize) -> Option<Finding> {
    if !scan.starts_number(at) {
        return None;
    }
    let spaced = scan.byte(at + 6) == b' ';
    let (date, tail) = if spaced { (at + 7, at + 16) } else { (at + 6, at + 14) };
    let end = tail + 4;
    let parts = [at..at + 6, date..date + 8, tail..tail + 3].map(|part| scan.slice(part));
    let number = parts.concat();
    let gaps = !spaced || scan.byte(date + 8) == b' ';
    if number.len() == 17 && gaps && number.bytes().all(|byte| byte.is_ascii_digit()) {
        let weighed = number.bytes().zip(RESIDENT_WEIGHTS);
        let sum: u32 = weighed.map(|(byte, weight)| u32::from(byte - b'0') * weight).sum();
        let check = b"10X98765432".get(sum as usize % 11)?;
        let fits = scan.byte(end - 1).to_ascii_uppercase() == *check && scan.ends_number(end);
        let [region, date, _] = parts;
        let born = date::is_plausible(date.get(..4)?, date.get(4..6)?, date.get(6..)?);
        return (fits && is_region(region) && born).then(|| scan.found(Kind::ResidentId, at..end, 0.99))?;
    }
    let end = at + 15;
    let old = scan.slice(at..end);
    let digits = old.len() == 15 && old.bytes().all(|byte| byte.is_ascii_digit()) && scan.ends_number(end);
    let born = || {
        date::is_plausible(&["19", old.get(6..8)?].concat(), old.get(8..10)?, old.get(10..12)?).then_some(())
    };
    if digits && is_region(old.get(..6)?) && born().is_some() && scan.follows(at, RESIDENT_WORDS) {
        return scan.found(Kind::ResidentId, at..end, 0.8);
    }
    None
}

fn is_region(digits: &str) -> bool {
    let province = digits.get(..2).and_then(|province| province.parse().ok());
    province.is_some_and(|province| PROVINCES.contains(&province))
}

/// `at` is the place of a digit: AAA-GG-SSSS, or nine digits beside a word. What the Social Security Administration never
/// issues (POMS RM 10201.035): areas 000, 666, 900 and up, group 00, serial 0000; nor two numbers printed as examples.
pub(super) fn ssn(scan: Scan, at: usize) -> Option<Finding> {
    if !scan.starts_number(at) {
        return None;
    }
    let separator = scan.byte(at + 3);
    let separated = matches!(separator, b'-' | b' ') && scan.byte(at + 6) == separator;
    let (end, parts) = if separated {
        (at + 11, [at..at + 3, at + 4..at + 6, at + 7..at + 11])
    } else {
        (at + 9, [at..at + 3, at + 3..at + 5, at + 5..at + 9])
    };
    let number = parts.map(|part| scan.slice(part)).concat();
    if number.len() != 9 || !number.bytes().all(|byte| byte.is_ascii_digit()) || !scan.ends_number(end) {
        return None;
    }
    let (area, rest) = number.split_at(3);
    let issued =
        area != "000" && area != "666" && area < "900" && !rest.starts_with("00") && !rest.ends_with("0000");
    if !issued || number == "078051120" || number == "219099999" {
        return None;
    }
    let named = scan.follows(at, SSN_WORDS);
    match (named, separated && separator == b'-') {
        (true, _) => scan.found(Kind::Ssn, at..end, 0.95),
        (false, true) => scan.found(Kind::Ssn, at..end, 0.8),
        (false, false) => None,
    }
}

/// Whether a word for passports stands anywhere: without one no number needs a look.
pub(super) fn speaks_of_passports(lower: &str) -> bool {
    PASSPORT_WORDS.iter().any(|word| lower.contains(word))
}

/// `at` is the place of a letter or digit: 6 to 9 capitals and digits (ICAO 9303, part 4: nine characters), most of them
/// digits, beside a word.
pub(super) fn passport(scan: Scan, at: usize) -> Option<Finding> {
    let end = scan.run(at, 10, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let digits = scan.slice(at..end).bytes().filter(u8::is_ascii_digit).count();
    let fits =
        (6..=9).contains(&(end - at)) && digits >= 5 && scan.starts_number(at) && scan.ends_number(end);
    (fits && scan.follows(at, PASSPORT_WORDS)).then(|| scan.found(Kind::Passport, at..end, 0.8))?
}

/// `at` is the place of a letter or digit: a full date beside a word.
pub(super) fn birth_date(scan: Scan, at: usize) -> Option<Finding> {
    let end = date::read(scan, at)?;
    let after = scan.slice(end..scan.text.floor_char_boundary(end + 12));
    let born = ["出生", "生,", "生,", "生。", "生)", "生まれ"]
        .iter()
        .any(|word| after.trim_start().starts_with(word));
    let named = born || scan.follows(at, BIRTH_WORDS);
    (named && scan.starts_number(at)).then(|| scan.found(Kind::BirthDate, at..end, 0.85))?
}
