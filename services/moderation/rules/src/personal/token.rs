//! Keys that say by their first letters who issued them. Lengths as their issuers' documentation or scanners give them;
//! where an issuer says that lengths may grow, they may here.

use super::{
    Finding, Kind,
    scan::{Scan, entropy},
};

struct Form {
    kind: Kind,
    prefix: &'static str,
    /// Characters after the prefix, from and to.
    length: (usize, usize),
    of: Letters,
}

#[derive(Clone, Copy)]
enum Letters {
    /// A to Z, 2 to 7.
    Base32,
    Alphanumeric,
    /// Base64 for URLs: letters, digits, `-` and `_`.
    Url,
    /// The same and `.`.
    Dotted,
}

const LONG: usize = 512;

const FORMS: &[Form] = &[
    // AWS IAM, "Understanding unique ID prefixes": 20 characters, AKIA long-term, ASIA temporary.
    form(Kind::AwsKeyId, "AKIA", (16, 16), Letters::Base32),
    form(Kind::AwsKeyId, "ASIA", (16, 16), Letters::Base32),
    // GitHub, "About authentication", token formats: 36 characters, up to 255 announced.
    form(Kind::GithubToken, "ghp_", (36, 255), Letters::Alphanumeric),
    form(Kind::GithubToken, "gho_", (36, 255), Letters::Alphanumeric),
    form(Kind::GithubToken, "ghu_", (36, 255), Letters::Alphanumeric),
    form(Kind::GithubToken, "ghs_", (36, 255), Letters::Alphanumeric),
    form(Kind::GithubToken, "ghr_", (36, 255), Letters::Alphanumeric),
    form(Kind::GithubToken, "github_pat_", (82, 255), Letters::Url),
    // GitLab, "Token overview", prefixes.
    form(Kind::GitlabToken, "glpat-", (20, 300), Letters::Dotted),
    form(Kind::GitlabToken, "gldt-", (20, 300), Letters::Dotted),
    form(Kind::GitlabToken, "glrt-", (20, 300), Letters::Dotted),
    form(Kind::GitlabToken, "glptt-", (20, 300), Letters::Dotted),
    form(Kind::GitlabToken, "glft-", (20, 300), Letters::Dotted),
    form(Kind::GitlabToken, "glcbt-", (20, 300), Letters::Dotted),
    form(Kind::GitlabToken, "gloas-", (20, 300), Letters::Dotted),
    // Slack, "Token types".
    form(Kind::SlackToken, "xoxb-", (20, 255), Letters::Url),
    form(Kind::SlackToken, "xoxp-", (20, 255), Letters::Url),
    form(Kind::SlackToken, "xoxa-", (20, 255), Letters::Url),
    form(Kind::SlackToken, "xoxr-", (20, 255), Letters::Url),
    form(Kind::SlackToken, "xoxs-", (20, 255), Letters::Url),
    form(Kind::SlackToken, "xoxe-", (20, 255), Letters::Url),
    form(Kind::SlackToken, "xapp-", (20, 255), Letters::Url),
    // Stripe, "API keys"; publishable keys (pk_) are no secret.
    form(Kind::StripeKey, "sk_live_", (16, 255), Letters::Alphanumeric),
    form(Kind::StripeKey, "sk_test_", (16, 255), Letters::Alphanumeric),
    form(Kind::StripeKey, "rk_live_", (16, 255), Letters::Alphanumeric),
    form(Kind::StripeKey, "rk_test_", (16, 255), Letters::Alphanumeric),
    form(Kind::StripeKey, "whsec_", (32, 255), Letters::Alphanumeric),
    // Google Cloud, "Manage API keys": 39 characters; OAuth client secrets: 35.
    form(Kind::GoogleKey, "AIza", (35, 35), Letters::Url),
    form(Kind::GoogleKey, "GOCSPX-", (28, 28), Letters::Url),
    // Hugging Face, "User access tokens".
    form(Kind::HuggingFaceToken, "hf_", (34, 40), Letters::Alphanumeric),
    // npm, "About access tokens"; 36 characters as GitHub's.
    form(Kind::NpmToken, "npm_", (36, 36), Letters::Alphanumeric),
    // PyPI, "API tokens": a macaroon for pypi.org in base64.
    form(Kind::PypiToken, "pypi-AgEIcHlwaS5vcmc", (50, LONG), Letters::Url),
    form(Kind::PypiToken, "pypi-AgENdGVzdC5weXBpLm9yZw", (50, LONG), Letters::Url),
    // OpenAI, "Production best practices"; Anthropic, "API overview"; others write theirs alike.
    form(Kind::ModelKey, "sk-ant-", (32, 255), Letters::Url),
    form(Kind::ModelKey, "sk-proj-", (32, 255), Letters::Url),
    form(Kind::ModelKey, "sk-svcacct-", (32, 255), Letters::Url),
    form(Kind::ModelKey, "sk-or-v1-", (32, 255), Letters::Url),
    form(Kind::ModelKey, "sk-", (32, 255), Letters::Alphanumeric),
];

const fn form(kind: Kind, prefix: &'static str, length: (usize, usize), of: Letters) -> Form {
    Form { kind, prefix, length, of }
}

/// Bits for each character under which a key is a made-up one: `sk-xxxxxxxx...`. Random ones have 4 and more.
const RANDOM: f32 = 3.0;

/// `at` is the place of a letter.
pub(super) fn find(scan: Scan, at: usize) -> Option<Finding> {
    if !matches!(scan.byte(at), b'A' | b'G' | b'g' | b'h' | b'n' | b'p' | b'r' | b's' | b'w' | b'x')
        || !starts(scan, at)
    {
        return None;
    }
    let head = scan.text.as_bytes().get(at..)?;
    let form = FORMS.iter().find(|form| head.starts_with(form.prefix.as_bytes()))?;
    let from = at + form.prefix.len();
    let (least, most) = form.length;
    let end = scan.run(from, most + 1, |byte| form.of.contains(byte));
    let end = scan.run_back(end, 1, |byte| byte == b'.');
    let key = scan.slice(from..end);
    let fits = (least..=most).contains(&key.len()) && scan.ends(end);
    (fits && entropy(key) >= RANDOM).then(|| scan.found(form.kind, at..end, 0.97))?
}

/// Nothing goes on here that could be the key's own beginning.
fn starts(scan: Scan, at: usize) -> bool {
    scan.starts(at)
        && !(scan.before(at) == b'-'
            && at.checked_sub(1).is_some_and(|at| scan.before(at).is_ascii_alphanumeric()))
}

impl Letters {
    fn contains(self, byte: u8) -> bool {
        match self {
            Self::Base32 => matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
        }
    }
}
