//! Addresses of cryptocurrencies, all with their checksums but Solana's, which has none.

use sha2::{Digest, Sha256};
use sha3::Keccak256;

use super::{Finding, Kind, scan::Scan};

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

const SOLANA_WORDS: &[&str] = &["solana", "sol", "phantom", "spl", "索拉纳"];

/// `at..end` is a run of letters and digits with nothing like them around it.
pub(super) fn find(scan: Scan, at: usize, end: usize) -> Option<Finding> {
    let word = scan.slice(at..end);
    match (word.len(), word.get(..3)?.as_bytes()) {
        (42, [b'0', b'x', _]) => ethereum(scan, at, word),
        (34, [b'T', ..]) if base58check(word, 0x41) => scan.found(Kind::Tron, at..end, 0.99),
        (25..=34, [b'1', ..]) if base58check(word, 0x00) => scan.found(Kind::Bitcoin, at..end, 0.99),
        (25..=34, [b'3', ..]) if base58check(word, 0x05) => scan.found(Kind::Bitcoin, at..end, 0.99),
        (14..=74, b"bc1" | b"BC1") => bech32(word).then(|| scan.found(Kind::Bitcoin, at..end, 0.99))?,
        (32..=44, _) if base58::<32>(word).is_some() && scan.follows(at, SOLANA_WORDS) => {
            scan.found(Kind::Solana, at..end, 0.8)
        }
        _ => None,
    }
}

/// EIP-55: a letter is a capital where Keccak-256 of the lower-case address has 8 or more. Addresses in one case have no
/// checksum.
fn ethereum(scan: Scan, at: usize, word: &str) -> Option<Finding> {
    let digits = word.get(2..)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let one_case = digits == lower || digits == digits.to_ascii_uppercase();
    let hash = Keccak256::digest(lower.as_bytes());
    let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let checked = digits
        .bytes()
        .zip(nibbles)
        .all(|(digit, nibble)| digit.is_ascii_digit() || digit.is_ascii_uppercase() == (nibble >= 8));
    // 0x000...0 and its like name nobody.
    let dull = lower.bytes().filter(|byte| *byte == b'0').count() > 30;
    match (dull, checked, one_case) {
        (true, ..) | (false, false, false) => None,
        (false, true, _) => scan.found(Kind::Ethereum, at..at + 42, 0.98),
        (false, false, true) => scan.found(Kind::Ethereum, at..at + 42, 0.8),
    }
}

/// Bitcoin's base58check: a version byte, 20 bytes, and the first 4 bytes of their double SHA-256.
fn base58check(word: &str, version: u8) -> bool {
    base58::<25>(word).is_some_and(|bytes| {
        let (payload, check) = bytes.split_at(21);
        payload.first() == Some(&version) && Sha256::digest(Sha256::digest(payload)).starts_with(check)
    })
}

/// The N bytes that `word` stands for, a leading `1` for each leading zero.
fn base58<const N: usize>(word: &str) -> Option<[u8; N]> {
    let mut bytes = [0_u8; N];
    for letter in word.bytes() {
        let mut carry = BASE58.iter().position(|known| *known == letter)?;
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    let ones = word.bytes().take_while(|letter| *letter == b'1').count();
    (ones == bytes.iter().take_while(|byte| **byte == 0).count()).then_some(bytes)
}

/// Segregated witness addresses: BIP 173 for version 0 with its 20 or 32 bytes, BIP 350 (bech32m) for 1 to 16.
fn bech32(word: &str) -> bool {
    const SEPARATOR: usize = 3;
    const CHECK: usize = 6;
    let lower = word.to_ascii_lowercase();
    if word != lower && word != word.to_ascii_uppercase() {
        return false;
    }
    let data = lower.bytes().skip(SEPARATOR).map(|letter| BECH32.iter().position(|known| *known == letter));
    let Some(data) = data.collect::<Option<Vec<_>>>() else { return false };
    // "bc" expanded: high bits, 0, low bits.
    let sum = [3, 3, 0, 2, 3].iter().chain(&data).fold(1, |sum, value| polymod(sum, *value as u32));
    let bits = 5 * data.len().saturating_sub(1 + CHECK);
    let (bytes, rest) = (bits / 8, bits % 8);
    match data.first() {
        Some(0) => sum == 1 && matches!(bytes, 20 | 32) && rest < 5,
        Some(1..=16) => sum == 0x2bc8_30a3 && (2..=40).contains(&bytes) && rest < 5,
        _ => false,
    }
}

/// One step of the checksum of BIP 173.
fn polymod(sum: u32, value: u32) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = sum >> 25;
    let shifted = ((sum & 0x1ff_ffff) << 5) ^ value;
    GENERATOR.iter().enumerate().filter(|(n, _)| top >> n & 1 == 1).fold(shifted, |sum, (_, term)| sum ^ term)
}
