//! E-mail addresses: dot-atom local parts and host names (RFC 5321, sections 4.1.2 and 4.5.3.1; RFC 1035, section 2.3.4).
//! Of the characters a local part may have, only those that mailboxes have in practice. Quoted local parts, addresses in
//! brackets and addresses beyond ASCII are not read.

use super::{Finding, Kind, scan::Scan};

const LOCAL: usize = 64;
const DOMAIN: usize = 253;
const LABEL: usize = 63;

/// Names of files that stand behind an `@`: `icon@2x.png`.
const FILES: &[&str] = &["png", "jpg", "jpeg", "gif", "webp", "svg", "css", "js", "ts", "json", "html"];

/// `at` is the place of an `@`.
pub(super) fn find(scan: Scan, at: usize) -> Option<Finding> {
    let local = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+'-&".contains(&byte);
    let mut start = scan.run_back(at, LOCAL + 1, local);
    while start < at && !(scan.byte(start).is_ascii_alphanumeric() || scan.byte(start) == b'_') {
        start += 1;
    }
    // An ellipsis before the address: no part of one has two dots together.
    start += scan.slice(start..at).rfind("..").map_or(0, |dots| dots + 2);
    let name = scan.slice(start..at);
    if name.is_empty() || name.len() > LOCAL || name.ends_with('.') {
        return None;
    }
    // `git@host:path` is how repositories are named.
    let end = domain(scan, at + 1)?;
    if name == "git" && scan.byte(end) == b':' || !scan.starts(start) {
        return None;
    }
    scan.found(Kind::Email, start..end, 0.95)
}

/// The end of a host name with at least two labels, the last one of letters.
fn domain(scan: Scan, start: usize) -> Option<usize> {
    let mut at = start;
    let mut end = None;
    while at - start < DOMAIN {
        let stop = scan.run(at, LABEL + 1, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let label = scan.slice(at..stop);
        if label.is_empty() || label.len() > LABEL || label.starts_with('-') || label.ends_with('-') {
            break;
        }
        let top = label.len() >= 2 && label.bytes().all(|byte| byte.is_ascii_alphabetic())
            || label.starts_with("xn--");
        if at > start && top {
            end = Some((stop, label));
        } else if at > start {
            end = None;
        }
        if scan.byte(stop) != b'.' || !scan.byte(stop + 1).is_ascii_alphanumeric() {
            break;
        }
        at = stop + 1;
    }
    let (end, top) = end?;
    let is_file = FILES.iter().any(|file| top.eq_ignore_ascii_case(file));
    (!is_file && scan.byte(end) != b'@' && scan.ends(end)).then_some(end)
}
