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
    PersonalData "personal-data" [- "S7" -] "Data that identify a person.",
    PersonalDataContact "personal-data/contact" [- "S7" -] "E-mail addresses and telephone numbers.",
    PersonalDataIdentity "personal-data/identity" [- "S7" -]
        "Numbers of identity cards, social security, passports; dates of birth.",
    PersonalDataPayment "personal-data/payment" [- "S7" -] "Payment cards, bank accounts, addresses of wallets.",
    PersonalDataNetwork "personal-data/network" [- "S7" -] "Addresses of networks and devices.",
    Secrets "secrets" [- "S7" -] "Keys, tokens and passwords of services.",
    Spam "spam" [- - -] "Unasked-for advertising and repetition.",
    Copyright "copyright" [- "S8" -] "A copy of a protected work.",
    Weapons "weapons" [- "S9" "Violence"] "Shows or offers weapons, above all firearms; by itself no violence.",
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
        // Of Llama Guard's hazards, sex-related crimes (S3), defamation (S5), specialised advice (S6), elections (S13) and
        // abuse of code interpreters (S14) have no category of their own here.
        let guard: std::collections::BTreeSet<_> = all().filter_map(|names| names.llama_guard).collect();
        assert_eq!(
            guard.into_iter().collect::<Vec<_>>(),
            ["S1", "S10", "S11", "S12", "S2", "S4", "S7", "S8", "S9"]
        );
    }
}
