//! From the rules file to what is searched for.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
    sync::Arc,
};

use atelier_core::{CategoryId, TenantId};
use atelier_rules::{Kind, KindSet, MAX_TERMS, Pattern, Patterns, personal_data, replaced};
use sha2::{Digest as _, Sha256};

use super::{
    file::{MAX_TERMS_BYTES, RulesFile, TenantRule, read},
    kinds::categories_of,
    list::{Hit, List, Meaning, Views},
};
use crate::{
    scores::{Finding, Measurement},
    text::Reading,
};

/// Up to here a text is searched in well below half a millisecond, if not for patterns.
const QUICK_BYTES: usize = 1 << 10;

/// The rules of one tenant.
#[derive(Debug, Default)]
pub struct TenantRules {
    /// Its lists, shared with all tenants that have them.
    lists: Vec<Arc<List>>,
    patterns: Option<Patterns>,
    /// By the tags of patterns.
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
    digest: String,
}

/// The lists that tenants share.
struct Lists {
    named: BTreeMap<String, Arc<List>>,
    profanity: Arc<List>,
}

impl RuleBook {
    /// Compiles the text of a rules file; terms' files are read from beside it.
    ///
    /// # Errors
    /// What is wrong, for the person who wrote the file.
    pub fn compile(text: &str, folder: &Path) -> Result<Self, String> {
        let file = RulesFile::parse(text)?;
        let mut digest = Sha256::new();
        digest.update(text.as_bytes());
        let mut named = BTreeMap::new();
        for (name, list) in &file.lists {
            let wrong = |problem| format!("lists.{name}: {problem}");
            let terms = match &list.file {
                Some(file) => read(&folder.join(file), MAX_TERMS_BYTES).map_err(wrong)?,
                None => String::new(),
            };
            digest.update(terms.as_bytes());
            named.insert(name.clone(), Arc::new(List::compile(name, list, &terms).map_err(wrong)?));
        }
        let lists = Lists { named, profanity: Arc::new(List::profanity()?) };
        let mut tenants = HashMap::new();
        for (id, tenant) in &file.tenants {
            let rules = TenantRules::compile(&file, tenant, &lists);
            tenants.insert(id.clone(), rules.map_err(|problem| format!("tenants.{id}: {problem}"))?);
        }
        let others = match tenants.remove(&TenantId::default_tenant()) {
            Some(rules) => rules,
            None => TenantRules::compile(&file, &TenantRule::default(), &lists)?,
        };
        let all = || tenants.values().chain([&others]);
        let measured = |category: &&CategoryId| all().any(|rules| rules.measures(**category));
        let categories = CategoryId::ALL.iter().filter(measured).copied().collect();
        Ok(Self { tenants, others, categories, digest: hex::encode(digest.finalize()) })
    }

    /// SHA-256 of everything that the rules were compiled from: the text, and the files of terms that it names.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
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
    fn compile(file: &RulesFile, tenant: &TenantRule, shared: &Lists) -> Result<Self, String> {
        let list = |name: &String| {
            shared.named.get(name).cloned().ok_or_else(|| format!("there is no list {name:?}"))
        };
        let mut lists = tenant.lists.iter().map(list).collect::<Result<Vec<_>, _>>()?;
        let terms: usize = lists.iter().map(|list| list.len).sum();
        if terms > MAX_TERMS {
            return Err(format!("the lists have {terms} terms together, at most {MAX_TERMS}"));
        }
        if tenant.profanity {
            lists.push(Arc::clone(&shared.profanity));
        }
        let (mut patterns, mut meanings) = (Vec::new(), Vec::new());
        for (name, tag) in tenant.patterns.iter().zip(0..) {
            let rule = file.patterns.get(name).ok_or_else(|| format!("there is no pattern {name:?}"))?;
            let meaning = Meaning::new(rule.category, rule.score, format!("pattern:{name}"));
            meanings.push(meaning.map_err(|problem| format!("patterns.{name}: {problem}"))?);
            patterns.push(Pattern { regex: rule.regex.clone(), tag });
        }
        let kinds = Kind::ALL.iter().copied();
        let wanted = |kind: &Kind| if kind.is_secret() { tenant.secrets } else { tenant.personal_data };
        Ok(Self {
            lists,
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
        let mut meanings = self.lists.iter().flat_map(|list| &list.meanings).chain(&self.meanings);
        meanings.any(|meaning| meaning.category == category)
            || kinds().any(|kind| categories_of(*kind).contains(&category))
    }

    /// Whether a text is searched in less than half a millisecond.
    #[must_use]
    pub fn is_quick(&self, text: &str) -> bool {
        self.patterns.is_none() && text.len() <= QUICK_BYTES
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
        let patterns = self.patterns.iter().flat_map(|patterns| patterns.find(text));
        let patterns = patterns
            .filter_map(|one| Some(Hit { place: one.range, meaning: self.meanings.get(one.tag as usize)? }));
        for Hit { place, meaning: Meaning { category, score, reason } } in patterns.chain(self.terms(text)) {
            found.find(Finding::new(*category, *score, place, reason.to_string()));
        }
        found
    }

    /// Where terms stand that no allowed one covers, each place of each list once.
    fn terms(&self, text: &str) -> Vec<Hit<'_>> {
        let views = Views::of(text);
        let (mut hits, mut allowed) = (Vec::new(), Vec::new());
        for list in &self.lists {
            list.search(&views, &mut hits, &mut allowed);
        }
        let allowed = Covered::by(allowed);
        hits.retain(|hit| !allowed.covers(&hit.place));
        hits.sort_by_key(|hit| (hit.place.start, hit.place.end, &hit.meaning.reason));
        hits.dedup_by(|a, b| a.place == b.place && Arc::ptr_eq(&a.meaning.reason, &b.meaning.reason));
        hits
    }

    /// A text with personal data and secrets replaced by marks such as `[EMAIL]`: those that stand in the text itself, those
    /// that a reader sees in it, and all of what hides some in an encoding. `others`: what else is to be replaced, and by what.
    #[must_use]
    pub fn redact(&self, text: &str, reading: &Reading, others: Vec<(Range<usize>, &'static str)>) -> String {
        let mut found = personal_data(text, self.kinds);
        for version in reading.versions().filter(|version| !version.is_undisguised()) {
            let placed = personal_data(version.text(), self.kinds);
            found.extend(placed.into_iter().map(|mut finding| {
                finding.range = version.original(finding.range);
                finding
            }));
        }
        let found = found.into_iter().map(|finding| (finding.range, finding.kind.mark()));
        replaced(text, found.chain(others))
    }

    /// Whether personal data are replaced in redacted texts.
    #[must_use]
    pub fn hides_personal_data(&self) -> bool {
        Kind::ALL.iter().any(|kind| !kind.is_secret() && self.kinds.contains(*kind))
    }
}

/// Ranges, none of which lies in another one, by where they start.
struct Covered(Vec<Range<usize>>);

impl Covered {
    fn by(mut ranges: Vec<Range<usize>>) -> Self {
        ranges.sort_by_key(|range| (range.start, Reverse(range.end)));
        let mut end = 0;
        ranges.retain(|range| {
            let further = range.end > end;
            end = end.max(range.end);
            further
        });
        Self(ranges)
    }

    fn covers(&self, place: &Range<usize>) -> bool {
        // The last one that starts before it reaches furthest.
        let before = self.0.partition_point(|range| range.start <= place.start);
        before.checked_sub(1).and_then(|last| self.0.get(last)).is_some_and(|range| place.end <= range.end)
    }
}

#[cfg(test)]
mod tests;
