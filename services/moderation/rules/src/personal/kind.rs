//! What personal data and secrets there are.

use std::ops::Range;

macro_rules! kinds {
    ($($variant:ident $mark:literal $description:literal,)*) => {
        /// A kind of personal data or secret. Kinds stand in order from the more to the less specific: of two that could
        /// name the same bytes, the one that stands first does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = $description] $variant,)*
        }

        impl Kind {
            /// All kinds, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in capitals, as redacted texts show it.
            #[must_use]
            pub const fn mark(self) -> &'static str {
                match self { $(Self::$variant => $mark,)* }
            }
        }
    };
}

kinds! {
    PrivateKey "PRIVATE_KEY" "A PEM block with a private key.",
    UrlCredentials "URL_CREDENTIALS" "User and password in a URL.",
    AwsKeyId "AWS_KEY_ID" "An AWS access key id.",
    AwsSecretKey "AWS_SECRET_KEY" "An AWS secret access key, beside a word that says so.",
    AzureKey "AZURE_KEY" "An account key of Azure storage, in a connection string.",
    GithubToken "GITHUB_TOKEN" "A token of GitHub.",
    GitlabToken "GITLAB_TOKEN" "A token of GitLab.",
    SlackToken "SLACK_TOKEN" "A token of Slack.",
    StripeKey "STRIPE_KEY" "A secret or restricted key of Stripe, or the secret of a webhook.",
    GoogleKey "GOOGLE_KEY" "An API key or client secret of Google.",
    HuggingFaceToken "HUGGING_FACE_TOKEN" "A token of Hugging Face.",
    NpmToken "NPM_TOKEN" "A token of npm.",
    PypiToken "PYPI_TOKEN" "A token of PyPI.",
    ModelKey "MODEL_KEY" "A key of a model provider that begins with `sk-`: OpenAI, Anthropic and others.",
    Jwt "JWT" "A JSON Web Token.",
    Bitcoin "BITCOIN_ADDRESS" "A Bitcoin address.",
    Ethereum "ETHEREUM_ADDRESS" "An Ethereum address.",
    Tron "TRON_ADDRESS" "A Tron address.",
    Solana "SOLANA_ADDRESS" "A Solana address, beside a word that says so.",
    Iban "IBAN" "An international bank account number.",
    ResidentId "RESIDENT_ID" "A Chinese resident identity number.",
    Card "CARD" "The number of a payment card.",
    Ssn "SSN" "A US social security number.",
    Passport "PASSPORT" "A passport's number, beside a word that says so.",
    Email "EMAIL" "An e-mail address.",
    MacAddress "MAC_ADDRESS" "A hardware address of a network interface.",
    Ipv6 "IPV6" "A public IPv6 address.",
    Ipv4 "IPV4" "A public IPv4 address.",
    BirthDate "BIRTH_DATE" "A date of birth, beside a word that says so.",
    Phone "PHONE" "A telephone number.",
    BearerToken "BEARER_TOKEN" "What follows `Bearer` or `Authorization: Basic` in a header.",
    Password "PASSWORD" "What a setting named password, secret, token or key is set to.",
}

impl Kind {
    /// Whether it gives access to something rather than naming a person or an account.
    #[must_use]
    pub fn is_secret(self) -> bool {
        self <= Self::Jwt || self >= Self::BearerToken
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindSet(u64);

impl KindSet {
    /// Every kind.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// Whether `kind` is in it.
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u64) != 0
    }

    /// Whether there is no kind in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Kind> for KindSet {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | 1 << kind as u64))
    }
}

/// Personal data or a secret in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Bytes of the text, between characters.
    pub range: Range<usize>,
    /// How likely it is what it looks like, 0 to 1. From 0.9 by a checksum or an unmistakable form; under 0.7 by a form
    /// that other things have too. An estimate, not a frequency.
    pub confidence: f32,
}
