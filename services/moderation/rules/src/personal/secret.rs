//! Secrets that are known by what stands around them.

use super::{
    Finding, Kind,
    scan::{Scan, entropy},
};

/// Bytes of a PEM block that are read: RSA keys of 16384 bits have 13,000.
const PEM: usize = 16 << 10;

/// Bytes of a token's header, and of all of it: web servers take no longer header lines.
const JWT_HEADER: usize = 1 << 10;
const JWT: usize = 8 << 10;

const TOKEN: usize = 2 << 10;

const AWS_WORDS: &[&str] = &[
    "aws_secret",
    "aws secret",
    "secret_access_key",
    "secret access key",
    "secretaccesskey",
    "awssecretkey",
];

/// `at` is the place of the first of five hyphens: a block of RFC 7468 with `PRIVATE KEY` in its label, also PGP's
/// (RFC 9580, section 6.2). A block that was cut off counts as far as it goes.
pub(super) fn private_key(scan: Scan, at: usize) -> Option<Finding> {
    const BEGIN: &str = "-----BEGIN ";
    let label = at + BEGIN.len();
    if scan.slice(at..label) != BEGIN {
        return None;
    }
    let label_end =
        scan.run(label, 40, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    let name = scan.slice(label..label_end);
    let is_private = name.ends_with("PRIVATE KEY") || name.ends_with("PRIVATE KEY BLOCK");
    if !is_private || scan.slice(label_end..label_end + 5) != "-----" {
        return None;
    }
    let body = label_end + 5;
    // Base64, line ends (also written as \n), headers such as `Proc-Type: 4,ENCRYPTED`.
    let mut end = body;
    while end - body < PEM {
        end = scan
            .run(end, PEM, |byte| byte.is_ascii_alphanumeric() || b"+/=\r\n \t\\:,.()\"'".contains(&byte));
        if scan.byte(end) != b'-' || scan.slice(end..end + 5) == "-----" {
            break;
        }
        end += 1;
    }
    let footer = ["-----END ", name, "-----"].concat();
    let closed = scan.slice(end..end + footer.len()) == footer;
    let letters = scan.slice(body..end).trim_end().len();
    let end = if closed { end + footer.len() } else { body + letters };
    (letters >= 32).then(|| scan.found(Kind::PrivateKey, at..end, 0.99))?
}

/// `at` is the place of a colon before `//`: user and password (RFC 3986, section 3.2.1).
pub(super) fn url_credentials(scan: Scan, at: usize) -> Option<Finding> {
    let start = at + 3;
    let scheme = scan.before(at).is_ascii_alphanumeric() && scan.slice(at..start) == "://";
    let user = scan.run(start, 128, is_userinfo);
    let end = scan.run(user + 1, 256, |byte| is_userinfo(byte) || byte == b':');
    let password = scan.slice(user + 1..end);
    let stands = scheme && scan.byte(user) == b':' && scan.byte(end) == b'@' && !password.is_empty();
    (stands && !is_placeholder(password) && !scan.slice(start..user).contains("**"))
        .then(|| scan.found(Kind::UrlCredentials, start..end, 0.9))?
}

fn is_userinfo(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// `at` is the place of a letter: three parts in base64 for URLs (RFC 7519, section 3), the first of them JSON with `alg`
/// (RFC 7515, section 4.1.1).
pub(super) fn jwt(scan: Scan, at: usize) -> Option<Finding> {
    if scan.slice(at..at + 2) != "ey" || !scan.starts(at) {
        return None;
    }
    let part = |from: usize, limit: usize| {
        scan.run(from, limit, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let header = part(at, JWT_HEADER);
    let payload = part(header + 1, JWT);
    let end = part(payload + 1, TOKEN);
    if scan.byte(header) != b'.' || payload == header + 1 || scan.byte(payload) != b'.' || end == payload + 1
    {
        return None;
    }
    let json: serde_json::Value = serde_json::from_slice(&base64(scan.slice(at..header))?).ok()?;
    json.get("alg").is_some().then(|| scan.found(Kind::Jwt, at..end, 0.98))?
}

/// Base64 for URLs without padding (RFC 4648, section 5).
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}

/// `at` is the place of a letter: `Bearer` and a token (RFC 6750, section 2.1), `Authorization: Basic` and a user with
/// password (RFC 7617, section 2).
pub(super) fn bearer(scan: Scan, at: usize) -> Option<Finding> {
    let word_end = scan.run(at, 7, |byte| byte.is_ascii_alphabetic());
    let word = scan.slice(at..word_end);
    let basic = word.eq_ignore_ascii_case("basic") && scan.follows(at, &["authorization"]);
    if !(basic || word.eq_ignore_ascii_case("bearer")) || !scan.starts(at) {
        return None;
    }
    let from = scan.run(word_end, 4, |byte| byte == b' ');
    let end = scan.run(from, TOKEN, |byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
    let end = scan.run_back(end, 1, |byte| byte == b'.');
    let token = scan.slice(from..end);
    let random = token.bytes().any(|byte| byte.is_ascii_digit()) && entropy(token) >= 3.0;
    let fits =
        from > word_end && scan.ends(end) && (basic && token.len() >= 8 || token.len() >= 16 && random);
    fits.then(|| scan.found(Kind::BearerToken, from..end, 0.9))?
}

/// `at..end` is a run of letters, digits, `+` and `/`: the 40 characters of an AWS secret access key (IAM, "Manage access
/// keys"), beside a word that says so; a SHA-1 hash in hexadecimal digits is as long.
pub(super) fn aws_secret(scan: Scan, at: usize) -> Option<Finding> {
    let of = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let end = scan.run(at, 41, of);
    let key = scan.slice(at..end);
    let looks =
        end - at == 40 && scan.starts(at) && scan.byte(end) != b'=' && scan.ends(end) && !of(scan.before(at));
    let hash = key.bytes().all(|byte| byte.is_ascii_hexdigit());
    (looks && !hash && entropy(key) >= 3.5 && scan.follows(at, AWS_WORDS))
        .then(|| scan.found(Kind::AwsSecretKey, at..end, 0.95))?
}

/// The last words of names of settings that hold passwords, and of those that hold keys, which are longer.
const PASSWORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "密码",
    "口令",
    "密碼",
    "パスワード",
    "비밀번호",
];
const KEYS: &[&str] = &[
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "access-key",
    "accesskey",
    "secret_key",
    "secretkey",
    "private_key",
    "auth_key",
    "encryption_key",
    "密钥",
    "令牌",
];

/// `at` is the place of `=`, `:` or their wide form: a setting and its value. What shows a secret is the name; a value counts
/// if it is mixed enough to be one and neither a placeholder nor code.
pub(super) fn assignment(scan: Scan, at: usize) -> Option<Finding> {
    let name_end = scan.run_back(at, 4, |byte| matches!(byte, b' ' | b'"' | b'\'' | b'`' | b':' | b'*'));
    let name_start = scan.text.ceil_char_boundary(name_end.saturating_sub(24));
    let name = scan.lower.get(name_start..name_end).unwrap_or_default();
    let last = |words: &[&str]| words.iter().any(|word| name.ends_with(word));
    let azure = name.ends_with("accountkey");
    let (is_key, is_password) = (last(KEYS), last(PASSWORDS));
    if !(azure || is_key || is_password) {
        return None;
    }
    let sign = scan.text.get(at..)?.chars().next()?;
    let from = at + sign.len_utf8() + usize::from(matches!(scan.byte(at + 1), b'=' | b'>'));
    // Stars are emphasis: `**Password:** x`.
    let from = scan.run(from, 4, |byte| matches!(byte, b' ' | b'*'));
    let quote = scan.byte(from);
    let quoted = matches!(quote, b'"' | b'\'' | b'`');
    let from = from + usize::from(quoted);
    let end = if quoted {
        scan.run(from, 257, |byte| byte != quote && byte != b'\n')
    } else {
        scan.run(from, 257, |byte| byte.is_ascii_graphic() && !b",;&\"'`<>()[]{}".contains(&byte))
    };
    let end =
        if quoted { end } else { scan.run_back(end, 1, |byte| matches!(byte, b'.' | b':' | b'!' | b'?')) };
    let value = scan.slice(from..end);
    if value.len() > 256 || quoted && scan.byte(end) != quote || !quoted && !scan.ends(end) {
        return None;
    }
    // 64 bytes in base64 (Azure Storage, "Configure connection strings").
    if azure {
        let of = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let fits = value.len() == 88 && value.ends_with("==") && value.bytes().all(of);
        return fits.then(|| scan.found(Kind::AzureKey, from..end, 0.98))?;
    }
    let least = if is_password { 6 } else { 12 };
    let bits = entropy(value) * value.len() as f32;
    let secret = value.len() >= least && is_mixed(value) && !is_placeholder(value) && bits >= 16.0;
    let confidence = if is_key && bits >= 50.0 || bits >= 32.0 { 0.9 } else { 0.75 };
    secret.then(|| scan.found(Kind::Password, from..end, confidence))?
}

/// Digits, or letters and marks: words alone are no secret.
fn is_mixed(value: &str) -> bool {
    let has = |of: fn(&u8) -> bool| value.bytes().any(|byte| of(&byte));
    let code =
        value.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'.' | b'_' | b'-' | b':' | b'/'));
    let digits = has(u8::is_ascii_digit);
    let letters = has(u8::is_ascii_alphabetic);
    let marks = value.bytes().any(|byte| b"!@#$%^&*+=?~|\\".contains(&byte));
    !code && !value.contains(' ') && (digits || letters && marks)
}

/// What stands for a value: `${TOKEN}`, `<password>`, `****`, `changeme`, or what was redacted.
fn is_placeholder(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "password",
        "example",
        "changeme",
        "your_",
        "your-",
        "placeholder",
        "redacted",
        "xxxx",
        "process.env",
        "os.environ",
        "null",
    ];
    let lower = value.to_ascii_lowercase();
    let variable = value.starts_with(['$', '{', '<', '[', '%', '*'])
        || value.contains(['[', ']', '(', '{'])
        || value.contains("**");
    variable || WORDS.iter().any(|word| lower == *word || word.len() > 4 && lower.starts_with(word))
}
