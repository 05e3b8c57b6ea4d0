//! Where models and the runtime library are kept.

use std::{env, path::PathBuf};

/// The cache folder several services share: `$ATELIER_HOME`, else `$XDG_CACHE_HOME/atelier`, else `~/.cache/atelier`.
///
/// Without any of those variables the folder is `.cache/atelier` below the working directory.
#[must_use]
pub fn home() -> PathBuf {
    resolve(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn resolve(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    if let Some(home) = variable("ATELIER_HOME") {
        return home;
    }
    let cache = variable("XDG_CACHE_HOME")
        .unwrap_or_else(|| variable("HOME").unwrap_or_else(|| PathBuf::from(".")).join(".cache"));
    cache.join("atelier")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[(&str, &str)]) -> PathBuf {
        resolve(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value)))
    }

    #[test]
    fn the_most_specific_variable_wins() {
        let all = [("ATELIER_HOME", "/a"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(with(&all), PathBuf::from("/a"));
        assert_eq!(with(&all[1..]), PathBuf::from("/x/atelier"));
        assert_eq!(with(&all[2..]), PathBuf::from("/h/.cache/atelier"));
        assert_eq!(with(&[]), PathBuf::from("./.cache/atelier"));
    }
}
