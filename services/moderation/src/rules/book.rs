//! From the rules file to what is searched for.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use atelier_core::{CategoryId, TenantId};
use atelier_normalise::{pinyin, skeleton};
use atelier_rules::{
    Kind, KindSet, Matching, Pattern, Patterns, Style, Term, TermList, personal_data, redact,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::profanity;
use crate::scores::{Finding, Measurement};

/// Largest file of terms, in bytes.
const MAX_TERMS_FILE_BYTES: u64 = 8 << 20;

/// The rules file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    lists: BTreeMap<String, List>,
    patterns: BTreeMap<String, PatternRule>,
    tenants: BTreeMap<TenantId, Tenant>,
}

/// A list of terms.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    category: CategoryId,
    #[serde(default = "certain")]
    score: f32,
    #[serde(default)]
    matching: ListMatching,
    /// How terms are compared: as they are written, undisguised, or by sound.
    #[serde(default)]
    compared: Compared,
    #[serde(default)]
    terms: Vec<String>,
    /// One term a line, beside the rules file; empty lines and those that begin with `#` count for nothing.
    #[serde(default)]
    file: Option<PathBuf>,
    /// What is no match although a term lies in it.
    #[serde(default)]
    allow: Vec<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ListMatching {
    #[default]
    Word,
    Substring,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Compared {
    Plain,
    #[default]
    Undisguised,
    Pinyin,
}

/// A regular expression.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternRule {
    category: CategoryId,
    #[serde(default = "certain")]
    score: f32,
    regex: String,
}

/// What counts for a tenant; `default` is every tenant that has no entry.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tenant {
    lists: Vec<String>,
    patterns: Vec<String>,
    personal_data: bool,
    secrets: bool,
    /// Swear words of English and Chinese.
    profanity: bool,
}

impl Default for Tenant {
    fn default() -> Self {
        Self { lists: Vec::new(), patterns: Vec::new(), personal_data: true, secrets: true, profanity: true }
    }
}

const fn certain() -> f32 {
    1.0
}

/// What a match of one rule means.
#[derive(Clone, Debug)]
struct Meaning {
    category: CategoryId,
    score: f32,
    /// `terms:NAME` or `pattern:NAME`.
    reason: Arc<str>,
}

/// The rules of one tenant.
#[derive(Debug, Default)]
pub struct TenantRules {
    /// Lists by how their terms are compared.
    terms: Vec<(Compared, TermList)>,
    patterns: Option<Patterns>,
    /// By the tags of terms and patterns.
    meanings: Vec<Meaning>,
    kinds: KindSet,
}

/// The rules of all tenants.
#[derive(Debug)]
pub struct RuleBook {
    tenants: HashMap<TenantId, TenantRules>,
    others: TenantRules,
    /// What any tenant's rules measure.
    categories: Vec<CategoryId>,
}

impl RuleBook {
    /// Compiles the text of a rules file; terms' files are read from beside it.
    ///
    /// # Errors
    /// What is wrong, for the person who wrote the file.
    pub fn compile(text: &str, folder: &Path) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
        let mut tenants = HashMap::new();
        for (id, tenant) in &file.tenants {
            let rules = TenantRules::compile(&file, tenant, folder);
            tenants.insert(id.clone(), rules.map_err(|problem| format!("tenants.{id}: {problem}"))?);
        }
        let others = match tenants.remove(&TenantId::default_tenant()) {
            Some(rules) => rules,
            None => TenantRules::compile(&file, &Tenant::default(), folder)?,
        };
        let all = || tenants.values().chain([&others]);
        let measured = |category: &&CategoryId| all().any(|rules| rules.measures(**category));
        let categories = CategoryId::ALL.iter().filter(measured).copied().collect();
        Ok(Self { tenants, others, categories })
    }

    /// A digest of everything that the rules are compiled from: the text, and the files of terms that it names.
    #[must_use]
    pub fn digest(text: &str, folder: &Path) -> String {
        let mut digest = Sha256::new();
        digest.update(text.as_bytes());
        let file: File = serde_saphyr::from_str(text).unwrap_or_default();
        for terms in file.lists.values().filter_map(|list| list.file.as_ref()) {
            // One that can't be read is an error when it is compiled.
            digest.update(fs::read(folder.join(terms)).unwrap_or_default());
        }
        hex::encode(digest.finalize())
    }

    /// The rules of a tenant.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> &TenantRules {
        self.tenants.get(tenant).unwrap_or(&self.others)
    }

    /// What any tenant's rules measure, in the order of the taxonomy.
    #[must_use]
    pub fn categories(&self) -> &[CategoryId] {
        &self.categories
    }
}

impl TenantRules {
    fn compile(file: &File, tenant: &Tenant, folder: &Path) -> Result<Self, String> {
        let mut meanings = Vec::new();
        let mut meaning = |category, score: f32, reason: String| {
            if !(0.0..=1.0).contains(&score) {
                return Err(format!("{reason}: score must be 0 to 1, is {score}"));
            }
            meanings.push(Meaning { category, score, reason: reason.into() });
            Ok(meanings.len() as u32 - 1)
        };
        let mut terms: BTreeMap<u8, (Compared, Vec<Term>)> = BTreeMap::new();
        for name in &tenant.lists {
            let list = file.lists.get(name).ok_or_else(|| format!("there is no list {name:?}"))?;
            let tag = meaning(list.category, list.score, format!("terms:{name}"))?;
            let (_, all) = terms.entry(list.compared as u8).or_insert((list.compared, Vec::new()));
            all.extend(list.read(tag, folder).map_err(|problem| format!("lists.{name}: {problem}"))?);
        }
        for (score, words) in profanity::WORDS.into_iter().filter(|_| tenant.profanity) {
            let tag = meaning(CategoryId::Profanity, score, "terms:profanity".to_owned())?;
            let (_, all) =
                terms.entry(Compared::Undisguised as u8).or_insert((Compared::Undisguised, Vec::new()));
            all.extend(profanity::terms(words, tag));
        }
        let mut patterns = Vec::new();
        for name in &tenant.patterns {
            let rule = file.patterns.get(name).ok_or_else(|| format!("there is no pattern {name:?}"))?;
            let tag = meaning(rule.category, rule.score, format!("pattern:{name}"))?;
            patterns.push(Pattern { regex: rule.regex.clone(), tag });
        }
        let kinds = Kind::ALL.iter().copied();
        let wanted = |kind: &Kind| if kind.is_secret() { tenant.secrets } else { tenant.personal_data };
        let build =
            |(compared, terms)| Ok((compared, TermList::build(terms).map_err(|error| error.to_string())?));
        Ok(Self {
            terms: terms.into_values().map(build).collect::<Result<_, String>>()?,
            patterns: match patterns.is_empty() {
                true => None,
                false => Some(Patterns::build(&patterns).map_err(|error| error.to_string())?),
            },
            meanings,
            kinds: kinds.filter(wanted).collect(),
        })
    }

    fn measures(&self, category: CategoryId) -> bool {
        let kinds = || Kind::ALL.iter().filter(|kind| self.kinds.contains(**kind));
        self.meanings.iter().any(|meaning| meaning.category == category)
            || kinds().any(|kind| categories_of(*kind).contains(&category))
    }

    /// Everything found in a text; a category that the tenant's rules measure and nothing shows has a score of 0.
    #[must_use]
    pub fn measure(&self, text: &str) -> Measurement {
        let measured: Vec<_> = CategoryId::ALL.iter().copied().filter(|of| self.measures(*of)).collect();
        let mut found = Measurement::nothing(&measured);
        for finding in personal_data(text, self.kinds) {
            let reason = format!("personal-data:{}", finding.kind.mark().to_lowercase());
            for &category in categories_of(finding.kind) {
                let (place, reason) = (finding.range.clone(), Cow::from(reason.clone()));
                found.find(Finding::new(category, finding.confidence, place, reason));
            }
        }
        for (compared, terms) in &self.terms {
            match compared {
                Compared::Plain => self.add(&mut found, terms.find(text).map(|m| (m.tag, m.range))),
                Compared::Undisguised | Compared::Pinyin => {
                    let view = if *compared == Compared::Pinyin { pinyin(text) } else { skeleton(text) };
                    let matches = terms.find(view.text()).map(|m| (m.tag, view.original(m.range)));
                    self.add(&mut found, matches);
                }
            }
        }
        if let Some(patterns) = &self.patterns {
            self.add(&mut found, patterns.find(text).map(|m| (m.tag, m.range)));
        }
        found
    }

    fn add(&self, found: &mut Measurement, matches: impl Iterator<Item = (u32, Range<usize>)>) {
        for (tag, place) in matches {
            if let Some(Meaning { category, score, reason }) = self.meanings.get(tag as usize) {
                let reason = reason.to_string();
                found.find(Finding::new(*category, *score, place, reason));
            }
        }
    }

    /// The text with personal data and secrets replaced by marks such as `[EMAIL]`.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        redact(text, &personal_data(text, self.kinds), Style::Marks).text
    }
}

impl List {
    fn read(&self, tag: u32, folder: &Path) -> Result<Vec<Term>, String> {
        let mut terms = self.terms.clone();
        if let Some(file) = &self.file {
            let path = folder.join(file);
            let unreadable = |error: std::io::Error| format!("{}: {error}", file.display());
            let bytes = fs::metadata(&path).map_err(unreadable)?.len();
            if bytes > MAX_TERMS_FILE_BYTES {
                return Err(format!("{}: {bytes} bytes, at most {MAX_TERMS_FILE_BYTES}", file.display()));
            }
            let text = fs::read_to_string(&path).map_err(unreadable)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            terms.extend(lines.map(str::to_owned));
        }
        let matching = match self.matching {
            ListMatching::Word => Matching::Word,
            ListMatching::Substring => Matching::Substring,
        };
        // Terms are compared with a view of the text and must be seen in the same way.
        let seen = |term: &String| match self.compared {
            Compared::Plain => term.clone(),
            Compared::Undisguised => skeleton(term).text().to_owned(),
            Compared::Pinyin => pinyin(term).text().to_owned(),
        };
        let term = |allow| move |text: &String| Term { text: seen(text), tag, matching, allow };
        Ok(terms.iter().map(term(false)).chain(self.allow.iter().map(term(true))).collect())
    }
}

/// The categories that personal data of a kind belong to: the part, and the whole.
fn categories_of(kind: Kind) -> &'static [CategoryId] {
    use CategoryId::{
        PersonalData, PersonalDataContact, PersonalDataIdentity, PersonalDataNetwork, PersonalDataPayment,
        Secrets,
    };
    match kind {
        Kind::Email | Kind::Phone => &[PersonalDataContact, PersonalData],
        Kind::ResidentId | Kind::Ssn | Kind::Passport | Kind::BirthDate => {
            &[PersonalDataIdentity, PersonalData]
        }
        Kind::Bitcoin | Kind::Ethereum | Kind::Tron | Kind::Solana | Kind::Iban | Kind::Card => {
            &[PersonalDataPayment, PersonalData]
        }
        Kind::MacAddress | Kind::Ipv4 | Kind::Ipv6 => &[PersonalDataNetwork, PersonalData],
        Kind::PrivateKey
        | Kind::UrlCredentials
        | Kind::AwsKeyId
        | Kind::AwsSecretKey
        | Kind::AzureKey
        | Kind::GithubToken
        | Kind::GitlabToken
        | Kind::SlackToken
        | Kind::StripeKey
        | Kind::GoogleKey
        | Kind::HuggingFaceToken
        | Kind::NpmToken
        | Kind::PypiToken
        | Kind::ModelKey
        | Kind::Jwt
        | Kind::BearerToken
        | Kind::Password => &[Secrets],
    }
}

#[cfg(test)]
mod tests;
