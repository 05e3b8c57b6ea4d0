//! The shipped policy has the thresholds that the shipped detector of texts was measured at, and says what was measured.
//!
//! `ATELIER_REWRITE=1 cargo test -p atelier-policy --test shipped` writes both into the policy after a training.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

/// `heads.json`.
#[derive(Deserialize)]
struct Heads {
    categories: Vec<String>,
    thresholds: BTreeMap<String, Limits>,
}

#[derive(Deserialize)]
struct Limits {
    flag: f64,
    block: f64,
    measured: Measured,
}

/// At each threshold.
#[derive(Deserialize)]
struct Measured {
    flag: Rates,
    block: Rates,
}

#[derive(Deserialize)]
struct Rates {
    /// Of annotated texts that show the category.
    recall: f64,
    /// Of everyday texts.
    fpr: f64,
}

impl Limits {
    fn line(&self, category: &str) -> String {
        let Self { flag, block, measured: Measured { flag: low, block: high } } = self;
        let block = (block * 1e3).round() / 1e3;
        let percent = |share: f64| format!("{}%", (share * 1e4).round() / 1e2);
        let recall = format!("recall {:.0}% / {:.0}%", low.recall * 100.0, high.recall * 100.0);
        let alarms = format!("false alarms {} / {}", percent(low.fpr), percent(high.fpr));
        format!("{category}: {{flag: {flag}, block: {block}}} # {recall}, {alarms}")
    }
}

/// The policy with the lines of these categories written anew, and how many there were.
fn renewed(policy: &str, heads: &Heads) -> (String, usize) {
    let (mut lines, mut count, mut inside) = (Vec::new(), 0, false);
    for line in policy.lines() {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        inside = text == "categories: &thresholds" || inside && (text.is_empty() || indent.len() >= 8);
        let limits = text.split_once(": {").and_then(|(key, _)| Some((key, heads.thresholds.get(key)?)));
        lines.push(match limits.filter(|_| inside) {
            Some((category, limits)) => {
                count += 1;
                format!("{indent}{}", limits.line(category))
            }
            None => line.to_owned(),
        });
    }
    (lines.join("\n") + "\n", count)
}

#[test]
fn the_policy_has_the_thresholds_of_the_text_detector() {
    let deploy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let path = deploy.join("config/policy.yaml");
    let policy = fs::read_to_string(&path).unwrap();
    let heads = fs::read_to_string(deploy.join("models/weights/text-moderation-heads/heads.json")).unwrap();
    let heads: Heads = serde_saphyr::from_str(&heads).unwrap();
    let (expected, count) = renewed(&policy, &heads);
    assert_eq!(count, heads.categories.len(), "each category of heads.json has one line in the policy");
    assert!(heads.categories.iter().all(|category| heads.thresholds.contains_key(category)));
    if std::env::var_os("ATELIER_REWRITE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let now = fs::read_to_string(&path).unwrap();
    let differ = now.lines().zip(expected.lines()).find(|(now, expected)| now != expected);
    assert_eq!(differ, None, "policy.yaml is not as heads.json: ATELIER_REWRITE=1 writes it anew");
}
