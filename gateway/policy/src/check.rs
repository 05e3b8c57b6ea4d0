//! From the shape of a file to rules: says everything that is wrong, not only the first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use atelier_core::{CategoryId, TenantId};
use serde_saphyr::{Location, Spanned};

use crate::{
    action::Action,
    error::{PolicyError, Violation},
    file::{
        Categories, Entries, Failure, File, Mode, OutputSection, PolicySection, Previewing, TenantSection,
        WindowSection,
    },
    policy::{FailureMode, OutputMode, Policy, Previews, Rules, Thresholds, Window},
    ruleset::Ruleset,
};

/// The one version of the format so far.
const FORMAT: u64 = 1;
/// Shorter windows tell a classifier too little; longer ones exceed what detectors read in one piece (512 tokens).
const WINDOW_CHARACTERS: std::ops::RangeInclusive<u64> = 16..=4096;
const MAX_HOLD: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// Checks a file and builds the rules.
pub(crate) fn ruleset(version: String, file: File) -> Result<Ruleset, PolicyError> {
    let mut found = Found(Vec::new());
    if file.version.value != FORMAT {
        found.say(file.version.referenced, "version", format!("must be {FORMAT}"));
    }
    if file.policies.value.0.is_empty() {
        found.say(file.policies.referenced, "policies", "must have at least one policy");
    }
    let policies: BTreeMap<_, _> =
        file.policies.value.0.into_iter().map(|(name, section)| found.policy(name.value, section)).collect();
    let default = found.reference("default_policy", &file.default_policy, &policies);
    let tenants = found.tenants(file.tenants, &policies);
    match default {
        Some(default) if found.0.is_empty() => {
            Ok(Ruleset { version, policies, tenants, default, unknown_tenants: file.unknown_tenants })
        }
        _ => {
            found.0.sort_by_key(|violation| (violation.line, violation.column));
            Err(PolicyError::Rules(found.0))
        }
    }
}

struct Found(Vec<Violation>);

impl Found {
    fn say(&mut self, at: Location, key: impl Into<String>, message: impl Into<String>) {
        let (key, message) = (key.into(), message.into());
        self.0.push(Violation { line: at.line(), column: at.column(), key, message });
    }

    fn policy(&mut self, name: String, section: PolicySection) -> (String, Arc<Policy>) {
        let key = format!("policies.{name}");
        let OutputSection { mode, window, categories, images } = section.output;
        let input = section.input;
        let policy = Policy {
            on_moderation_failure: match section.on_moderation_failure {
                Failure::FailClosed => FailureMode::FailClosed,
                Failure::FailOpen => FailureMode::FailOpen,
            },
            input: self.rules(&format!("{key}.input"), input.categories, input.images.categories),
            output: self.rules(&format!("{key}.output"), categories, images.categories),
            output_mode: match mode {
                Mode::Buffer => OutputMode::Buffer,
                Mode::Windowed => OutputMode::Windowed,
                Mode::StreamFirst => OutputMode::StreamFirst,
            },
            window: window.map_or_else(Window::default, |w| self.window(&format!("{key}.output.window"), w)),
            previews: match images.previews {
                Previewing::Judged => Previews::Judged,
                Previewing::Withheld => Previews::Withheld,
            },
            name: name.clone(),
        };
        (name, Arc::new(policy))
    }

    /// The thresholds of a stage; those of pictures take the place of text's, category by category.
    fn rules(&mut self, key: &str, categories: Categories, of_images: Categories) -> Rules {
        let text = self.thresholds(&format!("{key}.categories"), categories);
        let mut image = text.clone();
        image.extend(self.thresholds(&format!("{key}.images.categories"), of_images));
        Rules { text, image }
    }

    fn thresholds(&mut self, key: &str, categories: Categories) -> Thresholds {
        let mut checked = Thresholds::new();
        for (category, limits) in categories.0 {
            let key = format!("{key}.{}", category.value);
            match category.value.parse::<CategoryId>() {
                Ok(id) => {
                    checked.insert(id, self.limits(&key, limits));
                }
                Err(unknown) => self.say(category.referenced, key, unknown.to_string()),
            }
        }
        checked
    }

    fn limits(&mut self, key: &str, limits: Spanned<Entries<Spanned<f32>>>) -> Vec<(Action, f32)> {
        if limits.value.0.is_empty() {
            self.say(limits.referenced, key, format!("needs a threshold for {}", action_names()));
        }
        let mut checked: Vec<(Action, Spanned<f32>)> = Vec::new();
        for (name, threshold) in limits.value.0 {
            let key = format!("{key}.{}", name.value);
            let Some(action) = Action::with_threshold().find(|action| action.as_str() == name.value) else {
                self.say(name.referenced, key, format!("no such action: there is {}", action_names()));
                continue;
            };
            if !(0.0..=1.0).contains(&threshold.value) {
                self.say(threshold.referenced, &key, format!("{} is outside 0 to 1", threshold.value));
            }
            checked.push((action, threshold));
        }
        checked.sort_by_key(|(action, _)| *action);
        for pair in checked.windows(2) {
            if let [(mild, low), (grave, high)] = pair
                && low.value > high.value
            {
                let message = format!("{mild} at {} would come after {grave} at {}", low.value, high.value);
                self.say(low.referenced, format!("{key}.{mild}"), message);
            }
        }
        checked.into_iter().map(|(action, threshold)| (action, threshold.value)).collect()
    }

    fn window(&mut self, key: &str, section: WindowSection) -> Window {
        let mut window = Window::default();
        if let Some(characters) = section.characters {
            if !WINDOW_CHARACTERS.contains(&characters.value) {
                let (least, most) = (WINDOW_CHARACTERS.start(), WINDOW_CHARACTERS.end());
                self.say(
                    characters.referenced,
                    format!("{key}.characters"),
                    format!("must be {least} to {most}"),
                );
            } else {
                window.characters = usize::try_from(characters.value).unwrap_or(usize::MAX);
                window.overlap = window.characters / 3;
            }
        }
        if let Some(overlap) = section.overlap {
            let most = window.characters / 2;
            match usize::try_from(overlap.value) {
                Ok(value) if value <= most => window.overlap = value,
                // More than half would judge every character three times and hold back more than passes.
                _ => self.say(
                    overlap.referenced,
                    format!("{key}.overlap"),
                    format!("must be at most half of characters, {most}"),
                ),
            }
        }
        if let Some(hold) = section.max_hold {
            match humantime::parse_duration(&hold.value) {
                Ok(value) if MAX_HOLD.contains(&value) => window.max_hold = value,
                _ => self.say(
                    hold.referenced,
                    format!("{key}.max_hold"),
                    "must be a duration of 10ms to 60s, e.g. 400ms",
                ),
            }
        }
        window
    }

    fn tenants(
        &mut self,
        section: Entries<TenantSection>,
        policies: &BTreeMap<String, Arc<Policy>>,
    ) -> HashMap<TenantId, Arc<Policy>> {
        let mut tenants = HashMap::new();
        for (name, tenant) in section.0 {
            let key = format!("tenants.{}", name.value);
            let policy = self.reference(&format!("{key}.policy"), &tenant.policy, policies);
            match (TenantId::new(&name.value), policy) {
                (Ok(id), Some(policy)) => {
                    tenants.insert(id, policy);
                }
                (Ok(_), None) => {}
                (Err(invalid), _) => self.say(name.referenced, key, invalid.to_string()),
            }
        }
        tenants
    }

    fn reference(
        &mut self,
        key: &str,
        name: &Spanned<String>,
        policies: &BTreeMap<String, Arc<Policy>>,
    ) -> Option<Arc<Policy>> {
        let policy = policies.get(&name.value).cloned();
        if policy.is_none() {
            let known = policies.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.say(name.referenced, key, format!("no policy {:?}: there is {known}", name.value));
        }
        policy
    }
}

fn action_names() -> String {
    Action::with_threshold().map(Action::as_str).collect::<Vec<_>>().join(", ")
}
