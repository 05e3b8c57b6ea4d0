//! The content taxonomy: what moderation measures and policy names.
//!
//! The ids follow the categories of OpenAI's moderation release (Markov et al. 2023, "A Holistic Approach to Undesired
//! Content Detection in the Real World"), widened by what a gateway for generated content needs. A category below another,
//! as `hate/threatening` below `hate`, is a part of it. [`CategoryId::elsewhere`] says what others call each.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What other taxonomies call a category; the nearest one, where none is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// One of the 13 categories of OpenAI's moderation endpoint (`omni-moderation`).
    pub openai: Option<&'static str>,
    /// One of the 14 hazards of Llama Guard 3 and 4, `S1` to `S14` (after MLCommons' taxonomy).
    pub llama_guard: Option<&'static str>,
    /// One of the four harm categories of Azure AI Content Safety.
    pub azure: Option<&'static str>,
}

macro_rules! taxonomy {
    (@name -) => { None };
    (@name $name:literal) => { Some($name) };
    ($($variant:ident $id:literal [$openai:tt $llama_guard:tt $azure:tt] $description:literal,)*) => {
        /// A category of the taxonomy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum CategoryId {
            $(#[doc = $description] $variant,)*
        }

        impl CategoryId {
            /// All of the taxonomy.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The id on the wire and in policy files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// What other taxonomies call it.
            #[must_use]
            pub const fn elsewhere(self) -> Elsewhere {
                match self {
                    $(Self::$variant => Elsewhere {
                        openai: taxonomy!(@name $openai),
                        llama_guard: taxonomy!(@name $llama_guard),
                        azure: taxonomy!(@name $azure),
                    },)*
                }
            }

            /// What belongs to it.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }
        }
    };
}

taxonomy! {
    Harassment "harassment" ["harassment" - "Hate"] "Language that insults, demeans or bullies a person.",
    HarassmentThreatening "harassment/threatening" ["harassment/threatening" "S1" "Violence"]
        "Harassment that threatens violence or serious harm.",
    Hate "hate" ["hate" "S10" "Hate"]
        "Hatred or contempt of people for race, religion, origin, gender, orientation, disability or caste.",
    HateThreatening "hate/threatening" ["hate/threatening" "S10" "Hate"]
        "Hate that threatens violence or serious harm.",
    Illicit "illicit" ["illicit" "S2" -] "Advice or instructions for crime.",
    IllicitViolent "illicit/violent" ["illicit/violent" "S9" "Violence"]
        "Advice or instructions for violent crime, or for getting weapons.",
    SelfHarm "self-harm" ["self-harm" "S11" "SelfHarm"]
        "Promotes or depicts suicide, cutting, eating disorders.",
    SelfHarmIntent "self-harm/intent" ["self-harm/intent" "S11" "SelfHarm"]
        "Someone says that they harm themselves or mean to.",
    SelfHarmInstructions "self-harm/instructions" ["self-harm/instructions" "S11" "SelfHarm"]
        "Advice or instructions for harming oneself.",
    Sexual "sexual" ["sexual" "S12" "Sexual"]
        "Content meant to arouse, or that promotes sexual services; education and health excepted.",
    SexualMinors "sexual/minors" ["sexual/minors" "S4" "Sexual"] "Sexual content about a person under 18.",
    Violence "violence" ["violence" "S1" "Violence"] "Depicts or promotes death, violence or injury.",
    ViolenceGraphic "violence/graphic" ["violence/graphic" - "Violence"]
        "Depicts death, violence or injury in graphic detail.",
    Profanity "profanity" [- - -] "Swear words and vulgar language.",
    Toxicity "toxicity" ["harassment" - "Hate"] "Rude or offensive language of any kind, Chinese and English.",
    PromptInjection "prompt-injection" [- - -]
        "Text that tries to override the instructions of a language model.",
    Jailbreak "jailbreak" [- - -]
        "Text that tries to talk a language model out of its rules: roles without limits, games, pretexts.",
    PersonalData "personal-data" [- "S7" -] "Data that identify a person; names and postal addresses excepted.",
    PersonalDataContact "personal-data/contact" [- "S7" -] "E-mail addresses and telephone numbers.",
    PersonalDataIdentity "personal-data/identity" [- "S7" -]
        "Numbers of identity cards, social security, passports; dates of birth.",
    PersonalDataPayment "personal-data/payment" [- "S7" -] "Payment cards, bank accounts, addresses of wallets.",
    PersonalDataNetwork "personal-data/network" [- "S7" -] "Addresses of networks and devices.",
    PersonalDataName "personal-data/name" [- "S7" -] "Names of persons.",
    PersonalDataAddress "personal-data/address" [- "S7" -]
        "Postal addresses with a street; no city or postal code by itself.",
    Secrets "secrets" [- "S7" -] "Keys, tokens and passwords of services.",
    Spam "spam" [- - -] "Unasked-for advertising and repetition.",
    Copyright "copyright" [- "S8" -] "A copy of a protected work.",
    Weapons "weapons" [- "S9" "Violence"] "Shows or offers weapons, above all firearms; by itself no violence.",
}

/// A hazard of Llama Guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hazard {
    /// `S1` to `S14`.
    pub id: &'static str,
    /// What it is called there.
    pub name: &'static str,
    /// The category that it mostly falls under; none: it is not measured.
    pub nearest: Option<CategoryId>,
}

/// The hazards of Llama Guard 3 and 4, in order.
pub const LLAMA_GUARD: [Hazard; 14] = {
    use CategoryId as C;
    const fn hazard(id: &'static str, name: &'static str, nearest: Option<CategoryId>) -> Hazard {
        Hazard { id, name, nearest }
    }
    [
        hazard("S1", "Violent crimes", Some(C::Violence)),
        hazard("S2", "Non-violent crimes", Some(C::Illicit)),
        hazard("S3", "Sex-related crimes", Some(C::Illicit)),
        hazard("S4", "Child sexual exploitation", Some(C::SexualMinors)),
        hazard("S5", "Defamation", None),
        hazard("S6", "Specialised advice", None),
        hazard("S7", "Privacy", Some(C::PersonalData)),
        hazard("S8", "Intellectual property", Some(C::Copyright)),
        hazard("S9", "Indiscriminate weapons", Some(C::IllicitViolent)),
        hazard("S10", "Hate", Some(C::Hate)),
        hazard("S11", "Suicide and self-harm", Some(C::SelfHarm)),
        hazard("S12", "Sexual content", Some(C::Sexual)),
        hazard("S13", "Elections", None),
        hazard("S14", "Abuse of code interpreters", Some(C::Illicit)),
    ]
};

impl CategoryId {
    /// How severe a find of the category is, 0 to 7, where its score says how certain the find is and not how bad. None: the
    /// score itself says how bad.
    #[must_use]
    pub const fn gravity(self) -> Option<u8> {
        match self {
            // The whole counts as the least of its parts, which say more.
            Self::PersonalData
            | Self::PersonalDataContact
            | Self::PersonalDataNetwork
            | Self::PersonalDataName
            | Self::Profanity => Some(2),
            Self::PersonalDataIdentity
            | Self::PersonalDataPayment
            | Self::PersonalDataAddress
            | Self::Copyright => Some(4),
            Self::Secrets => Some(5),
            Self::Harassment
            | Self::HarassmentThreatening
            | Self::Hate
            | Self::HateThreatening
            | Self::Illicit
            | Self::IllicitViolent
            | Self::SelfHarm
            | Self::SelfHarmIntent
            | Self::SelfHarmInstructions
            | Self::Sexual
            | Self::SexualMinors
            | Self::Violence
            | Self::ViolenceGraphic
            | Self::Toxicity
            | Self::PromptInjection
            | Self::Jailbreak
            | Self::Spam
            | Self::Weapons => None,
        }
    }

    /// How severe a score of the category is, 0 to 7, as Azure's content safety counts; its four levels (0, 2, 4, 6) are this
    /// with the lowest bit cleared.
    ///
    /// Of scores that say how bad it is, the eighths of the scale: 4 and more is what the default heads flag. Of others the
    /// category's [gravity](Self::gravity), in proportion to the score and rounded.
    #[must_use]
    pub fn severity(self, score: f32) -> u32 {
        let score = score.clamp(0.0, 1.0);
        match self.gravity() {
            None => (score * 8.0).min(7.0) as u32,
            Some(gravity) => (score * f32::from(gravity)).round() as u32,
        }
    }
}

/// A name that is no category of the taxonomy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no category of the taxonomy")]
pub struct UnknownCategory(String);

impl FromStr for CategoryId {
    type Err = UnknownCategory;
    fn from_str(id: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().copied().find(|category| category.as_str() == id);
        known.ok_or_else(|| UnknownCategory(id.chars().take(64).collect()))
    }
}

impl TryFrom<String> for CategoryId {
    type Error = UnknownCategory;
    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl From<CategoryId> for &'static str {
    fn from(id: CategoryId) -> Self {
        id.as_str()
    }
}

impl fmt::Display for CategoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_are_unique() {
        for (n, category) in CategoryId::ALL.iter().enumerate() {
            assert_eq!(category.as_str().parse(), Ok(*category));
            assert!(CategoryId::ALL[..n].iter().all(|other| other.as_str() != category.as_str()));
        }
        assert!("hatred".parse::<CategoryId>().is_err());
    }

    #[test]
    fn every_category_of_the_others_has_one_here() {
        let all = || CategoryId::ALL.iter().map(|category| category.elsewhere());
        let openai: std::collections::BTreeSet<_> = all().filter_map(|names| names.openai).collect();
        assert_eq!(openai.len(), 13);
        let azure: std::collections::BTreeSet<_> = all().filter_map(|names| names.azure).collect();
        assert_eq!(azure.into_iter().collect::<Vec<_>>(), ["Hate", "SelfHarm", "Sexual", "Violence"]);
        // Hazards of which a category says that they are nearest to it are nearest to one themselves.
        let guard: std::collections::BTreeSet<_> = all().filter_map(|names| names.llama_guard).collect();
        let known = |id| LLAMA_GUARD.iter().any(|hazard| hazard.id == id && hazard.nearest.is_some());
        assert!(guard.into_iter().all(known));
        let unmeasured = LLAMA_GUARD.iter().filter(|hazard| hazard.nearest.is_none()).map(|hazard| hazard.id);
        assert_eq!(unmeasured.collect::<Vec<_>>(), ["S5", "S6", "S13"]);
    }

    #[test]
    fn severity_has_eight_levels() {
        let levels = [0.0, 0.124, 0.125, 0.49, 0.5, 0.874, 0.875, 1.0];
        assert_eq!(levels.map(|score| CategoryId::Hate.severity(score)), [0, 0, 1, 3, 4, 6, 7, 7]);
    }

    #[test]
    fn what_is_certain_is_as_severe_as_its_category() {
        let certain = |category: CategoryId| category.severity(1.0);
        assert_eq!(certain(CategoryId::PersonalDataContact), 2);
        assert_eq!(certain(CategoryId::PersonalDataPayment), 4);
        assert_eq!(certain(CategoryId::Secrets), 5);
        assert_eq!(
            [0.0, 0.05, 0.5, 0.6, 0.95].map(|score| CategoryId::Secrets.severity(score)),
            [0, 0, 3, 3, 5]
        );
    }
}
