//! What a graph reads and gives, by the names that exporters use.

use atelier_inference::{ModelFolder, Port};
use serde::de::DeserializeOwned;

use crate::PipelineError;

/// The first port of these names.
pub(crate) fn named<'a>(ports: &'a [Port], names: &[&str]) -> Option<&'a Port> {
    names.iter().find_map(|name| ports.iter().find(|port| port.name == *name))
}

/// Names in the order of the numbers they end with; those without a number keep their place.
pub(crate) fn numbered<'a>(ports: impl Iterator<Item = &'a Port>) -> Vec<String> {
    let mut names: Vec<(usize, String)> = ports
        .enumerate()
        .map(|(place, port)| (number(&port.name).unwrap_or(place), port.name.clone()))
        .collect();
    names.sort_by_key(|(number, _)| *number);
    names.into_iter().map(|(_, name)| name).collect()
}

/// The number that a name ends with.
fn number(name: &str) -> Option<usize> {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    name[name.len() - digits..].parse().ok()
}

/// The first `config.json` that one of these parts of the folder has.
pub(crate) fn config<T: DeserializeOwned>(
    folder: &ModelFolder,
    parts: &[&str],
) -> Result<Option<T>, PipelineError> {
    let mut files = parts.iter().map(|part| format!("{part}/config.json"));
    Ok(match files.find(|file| folder.has(file)) {
        Some(file) => Some(folder.json(&file)?),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use atelier_inference::ElementType;

    use super::*;

    #[test]
    fn numbers_are_counted() {
        let port =
            |name: &str| Port { name: name.to_owned(), element_type: ElementType::F32, dimensions: vec![] };
        let ports = [port("h.10"), port("h.2"), port("h.0")];
        assert_eq!(numbered(ports.iter()), ["h.0", "h.2", "h.10"]);
        assert_eq!(named(&ports, &["x", "h.2"]), Some(&ports[1]));
        assert_eq!(numbered([port("b"), port("a")].iter()), ["b", "a"]);
    }
}
