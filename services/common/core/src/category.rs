//! The content taxonomy: what moderation measures and policy names.
//!
//! The ids follow the categories of OpenAI's moderation release (Markov et al. 2023, "A Holistic Approach to Undesired
//! Content Detection in the Real World"), widened by what a gateway for generated content needs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! taxonomy {
    ($($variant:ident $id:literal $description:literal,)*) => {
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

            /// What belongs to it.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }
        }
    };
}

taxonomy! {
    Harassment "harassment" "Language that insults, demeans or bullies a person.",
    HarassmentThreatening "harassment/threatening" "Harassment that threatens violence or serious harm.",
    Hate "hate" "Hatred or contempt of people for race, religion, origin, gender, orientation, disability or caste.",
    HateThreatening "hate/threatening" "Hate that threatens violence or serious harm.",
    Illicit "illicit" "Advice or instructions for crime.",
    SelfHarm "self-harm" "Promotes or depicts suicide, cutting, eating disorders.",
    Sexual "sexual" "Content meant to arouse, or that promotes sexual services; education and health excepted.",
    SexualMinors "sexual/minors" "Sexual content about a person under 18.",
    Violence "violence" "Depicts or promotes death, violence or injury.",
    ViolenceGraphic "violence/graphic" "Depicts death, violence or injury in graphic detail.",
    Profanity "profanity" "Swear words and vulgar language.",
    Toxicity "toxicity" "Rude or offensive language of any kind, Chinese and English.",
    PromptInjection "prompt-injection" "Text that tries to override the instructions of a language model.",
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
}
