//! The shape of a policy file, every value with the place where it stands.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use crate::error::{PolicyError, Violation};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) version: Spanned<u64>,
    pub(crate) default_policy: Spanned<String>,
    #[serde(default)]
    pub(crate) unknown_tenants: UnknownTenants,
    pub(crate) policies: Spanned<Entries<PolicySection>>,
    #[serde(default)]
    pub(crate) tenants: Entries<TenantSection>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownTenants {
    #[default]
    Default,
    Refuse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicySection {
    pub(crate) on_moderation_failure: Failure,
    pub(crate) input: InputSection,
    pub(crate) output: OutputSection,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    FailClosed,
    FailOpen,
}

/// Thresholds by action, by category.
pub(crate) type Categories = Entries<Spanned<Entries<Spanned<f32>>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputSection {
    pub(crate) categories: Categories,
    #[serde(default)]
    pub(crate) images: InputImagesSection,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputImagesSection {
    /// In place of those of text.
    #[serde(default)]
    pub(crate) categories: Categories,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputSection {
    #[serde(default)]
    pub(crate) mode: Mode,
    pub(crate) window: Option<WindowSection>,
    pub(crate) categories: Categories,
    #[serde(default)]
    pub(crate) images: OutputImagesSection,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputImagesSection {
    #[serde(default)]
    pub(crate) previews: Previewing,
    /// In place of those of text.
    #[serde(default)]
    pub(crate) categories: Categories,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Previewing {
    #[default]
    Judged,
    Withheld,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    Buffer,
    #[default]
    Windowed,
    StreamFirst,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowSection {
    pub(crate) characters: Option<Spanned<u64>>,
    pub(crate) overlap: Option<Spanned<u64>>,
    pub(crate) max_hold: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantSection {
    pub(crate) policy: Spanned<String>,
}

/// A mapping in the order of the file, its keys with the places where they stand.
pub(crate) struct Entries<V>(pub(crate) Vec<(Spanned<String>, V)>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// Reads the structure; what the values mean is checked afterwards.
pub(crate) fn read(text: &str) -> Result<File, PolicyError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = place(error.location());
        // The parser ends its messages with the place, which we give in a field of its own.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        PolicyError::Structure(Violation { line, column, key: String::new(), message })
    })
}

fn place(location: Option<Location>) -> (u64, u64) {
    location.map_or((0, 0), |location| (location.line(), location.column()))
}
