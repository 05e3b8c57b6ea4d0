//! What policy can do with content.
//!
//! A new action is one row of the table below: files may then name it, [`crate::Policy::judge`] applies it, and the
//! compiler points at the one match that gives it a wire form.

use std::fmt;

macro_rules! actions {
    ($($variant:ident $name:literal passes: $passes:literal, $description:literal;)*) => {
        /// What policy makes of content. The order is that of gravity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $(#[doc = $description] $variant,)*
        }

        impl Action {
            /// Every action, mildest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in policy files, metrics and the audit trail.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Content that this was decided about goes on its way.
            #[must_use]
            pub const fn passes(self) -> bool {
                match self { $(Self::$variant => $passes,)* }
            }
        }
    };
}

actions! {
    Allow "allow" passes: true, "It passes; what applies below every threshold, so files never name it.";
    Flag "flag" passes: true, "It passes, and caller and audit trail are told.";
    Block "block" passes: false, "It does not pass.";
}

impl Action {
    /// The actions a file can set a threshold for, mildest first.
    pub(crate) fn with_threshold() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|action| *action != Self::Allow)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
