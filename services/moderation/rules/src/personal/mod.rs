//! Personal data and secrets in a text, by form, checksum and the words around them.
//!
//! One pass over the bytes stops where something may begin: a word, or one of the signs `@`, `:`, `=`, `+`, `(`, `-`. Each
//! rule then reads a bounded number of bytes from there, so that the time is linear in any text. Texts should be
//! normalised (NFKC) before: wide digits are not read.

mod date;
mod email;
mod identity;
mod kind;
mod network;
mod payment;
mod phone;
mod scan;
mod secret;
mod token;
mod wallet;

use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

pub use self::kind::{Finding, Kind, KindSet};
use self::scan::Scan;

/// What of `kinds` stands in `text`: in order, not overlapping. Of findings that overlap, secrets of a known form stay
/// before all else; then the longest, which covers most when it is redacted; of equally long ones the more specific kind,
/// then the first. Of a secret that gives way in part, the rest stays.
#[must_use]
pub fn personal_data(text: &str, kinds: KindSet) -> Vec<Finding> {
    let mut all = Vec::new();
    if kinds.is_empty() {
        return all;
    }
    let lower = text.to_ascii_lowercase();
    let scan = Scan { text, lower: &lower };
    let passports = kinds.contains(Kind::Passport) && identity::speaks_of_passports(&lower);
    for (at, byte) in text.as_bytes().iter().enumerate() {
        match *byte {
            b'@' => all.extend(email::find(scan, at)),
            b':' if scan.byte(at + 1) == b'/' => all.extend(secret::url_credentials(scan, at)),
            b':' | b'=' => {
                all.extend(secret::assignment(scan, at));
                if scan.byte(at + 1) == b':' {
                    all.extend(network::ipv6(scan, at));
                }
            }
            // The wide colon, in bytes EF BC 9A.
            0xef if scan.byte(at + 1) == 0xbc && scan.byte(at + 2) == 0x9a => {
                all.extend(secret::assignment(scan, at))
            }
            b'+' | b'(' if scan.byte(at + 1).is_ascii_digit() || scan.byte(at + 1) == b'(' => {
                all.extend(phone::find(scan, at))
            }
            b'-' if scan.byte(at + 1) == b'-' && scan.before(at) != b'-' => {
                all.extend(secret::private_key(scan, at))
            }
            byte if byte.is_ascii_alphanumeric() && !scan.before(at).is_ascii_alphanumeric() => {
                word(scan, at, passports, &mut all)
            }
            _ => {}
        }
    }
    all.retain(|finding| kinds.contains(finding.kind));
    resolve(all)
}

/// What may begin with the word at `at`.
fn word(scan: Scan, at: usize, passports: bool, all: &mut Vec<Finding>) {
    // Longer than any address; what is longer is looked at by its beginning alone.
    let end = scan.run(at, 80, |byte| byte.is_ascii_alphanumeric());
    let length = end - at;
    if scan.byte(at).is_ascii_digit() {
        if length < 4 && scan.byte(end) == b'.' {
            all.extend(network::ipv4(scan, at));
        }
        // By how many digits stand together in front.
        if matches!(length, 4 | 6 | 13..=19) {
            all.extend(payment::card(scan, at));
        }
        if matches!(length, 6 | 15 | 18) {
            all.extend(identity::resident_id(scan, at));
        }
        let country = matches!(scan.slice(at..end), "1" | "86");
        let area = scan.run(end + 1, 3, |byte| byte.is_ascii_digit()) == end + 4;
        if country && area || matches!(length, 3 | 4 | 10 | 11 | 13 | 15) {
            all.extend(phone::find(scan, at));
        }
        if length == 3 || length == 9 {
            all.extend(identity::ssn(scan, at));
        }
    } else {
        all.extend(payment::iban(scan, at));
        all.extend(token::find(scan, at));
        all.extend(secret::jwt(scan, at));
        if matches!(length, 5 | 6) {
            all.extend(secret::bearer(scan, at));
        }
    }
    if matches!(length, 1..=4)
        && matches!(scan.byte(end), b':' | b'-' | b'.')
        && scan.byte(at).is_ascii_hexdigit()
    {
        all.extend(network::mac(scan, at));
        all.extend(network::ipv6(scan, at));
    }
    if passports && (6..=9).contains(&length) {
        all.extend(identity::passport(scan, at));
    }
    if length <= 10 {
        all.extend(identity::birth_date(scan, at));
    }
    if (14..=74).contains(&length) && scan.starts(at) && scan.ends(end) {
        all.extend(wallet::find(scan, at, end));
    }
    if length <= 40 && matches!(scan.byte(end), b'+' | b'/') || length == 40 {
        all.extend(secret::aws_secret(scan, at));
    }
}

/// Findings that do not overlap, in order.
fn resolve(mut all: Vec<Finding>) -> Vec<Finding> {
    all.sort_by_key(|f| (f.kind > Kind::Jwt, Reverse(f.range.len()), f.kind, f.range.start));
    let mut kept: BTreeMap<usize, Finding> = BTreeMap::new();
    for finding in all {
        let free = gaps(&kept, &finding.range);
        let whole = free.first() == Some(&finding.range);
        for range in free {
            // What is left of a secret is still secret; what is left of an address is none.
            if whole || finding.kind.is_secret() {
                kept.insert(range.start, Finding { range, ..finding });
            }
        }
    }
    kept.into_values().collect()
}

/// The parts of `range` that nothing kept covers, from the last to the first.
fn gaps(kept: &BTreeMap<usize, Finding>, range: &Range<usize>) -> Vec<Range<usize>> {
    let mut gaps = Vec::with_capacity(1);
    let mut end = range.end;
    for (_, other) in kept.range(..range.end).rev().take_while(|(_, other)| other.range.end > range.start) {
        gaps.push(other.range.end..end);
        end = other.range.start;
    }
    gaps.push(range.start..end);
    gaps.retain(|gap| gap.start < gap.end);
    gaps
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod secret_tests;
#[cfg(test)]
mod tests;
