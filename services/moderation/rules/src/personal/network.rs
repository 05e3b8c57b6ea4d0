//! Addresses of machines. Only those that can name somebody's machine: addresses for private networks, loopback, links,
//! documentation and groups are left alone (IANA's special-purpose registries, RFC 6890).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Finding, Kind, scan::Scan};

/// `at` is the place of a digit: four numbers of 0 to 255 without leading zeros. Versions look the same: a `v` or the word
/// before it, a fifth number behind it or a hyphen rules them out, four small numbers make it less likely.
pub(super) fn ipv4(scan: Scan, at: usize) -> Option<Finding> {
    let end = scan.run(at, 16, |byte| byte.is_ascii_digit() || byte == b'.');
    // The dot of a sentence.
    let end = if scan.before(end) == b'.' { end - 1 } else { end };
    let address: Ipv4Addr = scan.slice(at..end).parse().ok()?;
    let port = scan.byte(end) == b':' || scan.byte(end) == b'/';
    let hangs = matches!(scan.before(at), b'.' | b'-' | b'+') || matches!(scan.byte(end), b'-' | b'+');
    if hangs
        || !scan.starts(at)
        || !(port || scan.ends_number(end))
        || !scan.ends(end)
        || is_special(address)
        || is_version(scan, at)
    {
        return None;
    }
    let small = address.octets().iter().all(|octet| *octet < 32);
    scan.found(Kind::Ipv4, at..end, if small { 0.5 } else { 0.9 })
}

fn is_special(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let unroutable =
        matches!((a, b, c), (0 | 240..=255, ..) | (100, 64..=127, _) | (198, 18..=19, _) | (192, 0, 0));
    unroutable
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
}

fn is_version(scan: Scan, at: usize) -> bool {
    let from = scan.run_back(at, 2, |byte| matches!(byte, b' ' | b':' | b'='));
    let word = scan.run_back(from, 10, |byte| byte.is_ascii_alphabetic() || byte == b'.');
    let word = scan.slice(word..from).to_ascii_lowercase();
    let near = scan.slice(scan.text.floor_char_boundary(from.saturating_sub(9))..from);
    let words = ["v", "ver", "ver.", "version", "release", "build", "rev", "r", "section", "chapter"];
    // What was redacted may have ended in such a word.
    words.contains(&word.as_str())
        || scan.mark_ends(from)
        || near.ends_with("版本")
        || near.ends_with("版本号")
        || near.ends_with("第")
}

/// `at` is the place of a hexadecimal digit or of the colons that an address begins with (RFC 4291, section 2.2). Global
/// unicast alone, 2000::/3 (RFC 4291, section 2.4), and IPv4 in IPv6; `ab::cd` in source code is no address.
pub(super) fn ipv6(scan: Scan, at: usize) -> Option<Finding> {
    let end = scan.run(at, 46, |byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.');
    let end = scan.run_back(end, 1, |byte| byte == b'.').max(at);
    let end =
        if scan.before(end) == b':' && scan.before(end.saturating_sub(1)) != b':' { end - 1 } else { end };
    let address: Ipv6Addr = scan.slice(at..end).parse().ok()?;
    let [first, second, ..] = address.segments();
    // Documentation: 2001:db8::/32 (RFC 3849), 3fff::/20 (RFC 9637).
    let documentation = (first, second) == (0x2001, 0xdb8) || first == 0x3fff && second < 0x1000;
    let global = first & 0xe000 == 0x2000 && !documentation;
    let mapped = address.to_ipv4_mapped().is_some_and(|address| !is_special(address));
    let alone = scan.starts(at) && scan.ends(end) && scan.before(at) != b':' && scan.byte(end) != b':';
    ((global || mapped) && alone).then(|| scan.found(Kind::Ipv6, at..end, 0.95))?
}

/// `at` is the place of a hexadecimal digit: six octets (IEEE 802, with hyphens or colons), or three groups of four as
/// some vendors print them. Not all 0 or all 1, nor the octets for documentation (RFC 9542, section 2.1.4).
pub(super) fn mac(scan: Scan, at: usize) -> Option<Finding> {
    let separator = scan.byte(at + 2);
    let (end, group, separator) = match (separator, scan.byte(at + 4)) {
        (b':' | b'-', _) => (at + 17, 2, separator),
        (_, b'.') => (at + 14, 4, b'.'),
        _ => return None,
    };
    let hangs = |byte: u8| byte == separator || byte == b':';
    if !scan.starts(at)
        || !scan.ends(end)
        || hangs(scan.before(at))
        || hangs(scan.byte(end)) && scan.byte(end + 1).is_ascii_hexdigit()
    {
        return None;
    }
    let mut octets = String::with_capacity(12);
    for (n, byte) in scan.slice(at..end).bytes().enumerate() {
        match n % (group + 1) == group {
            true if byte == separator => {}
            false if byte.is_ascii_hexdigit() => octets.push(char::from(byte.to_ascii_lowercase())),
            _ => return None,
        }
    }
    let dull = octets.is_empty() || octets.bytes().all(|b| b == b'0') || octets.bytes().all(|b| b == b'f');
    let mixed = group == 2 || octets.bytes().any(|byte| byte.is_ascii_alphabetic());
    (!dull && mixed && !octets.starts_with("00005e0053"))
        .then(|| scan.found(Kind::MacAddress, at..end, 0.9))?
}
