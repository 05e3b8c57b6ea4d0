//! Properties of verdicts that hold for every ruleset and every measurement.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fmt::Write as _;

use atelier_core::{CategoryId, TenantId};
use atelier_policy::{Action, FailureMode, Medium, Outcome, Policy, Ruleset, Stage, Verdict};
use proptest::prelude::*;

type Scores = Vec<(CategoryId, f32)>;

fn category() -> impl Strategy<Value = CategoryId> {
    prop::sample::select(CategoryId::ALL)
}

fn scores() -> impl Strategy<Value = Scores> {
    prop::collection::vec((category(), 0.0_f32..=1.0), 0..20)
}

/// A policy with thresholds for some categories, by way of the file format.
fn policy() -> impl Strategy<Value = Policy> {
    let limits = (0_u32..=100, 0_u32..=100, any::<bool>());
    (prop::collection::btree_map(category(), limits, 1..8), any::<bool>()).prop_map(|(categories, open)| {
        let mode = if open { "fail_open" } else { "fail_closed" };
        let mut text = format!(
            "version: 1\ndefault_policy: p\npolicies:\n  p:\n    on_moderation_failure: {mode}\n    output: \
             {{categories: {{}}}}\n    input:\n      categories:\n"
        );
        for (category, (a, b, flags)) in categories {
            let (flag, block) = (f64::from(a.min(b)) / 100.0, f64::from(a.max(b)) / 100.0);
            let flag = if flags { format!("flag: {flag}, ") } else { String::new() };
            writeln!(text, "        {category}: {{{flag}block: {block}}}").unwrap();
        }
        let rules = Ruleset::parse(&text).unwrap();
        rules.policy_of(&TenantId::default_tenant()).unwrap().as_ref().clone()
    })
}

fn judge(policy: &Policy, scores: &Scores) -> Verdict {
    policy.judge(Stage::Input, Medium::Text, scores, CategoryId::ALL)
}

proptest! {
    #[test]
    fn raising_a_score_never_softens(policy in policy(), mut scores in scores(), at: prop::sample::Index, by in 0.0_f32..=1.0) {
        prop_assume!(!scores.is_empty());
        let before = judge(&policy, &scores);
        let at = at.index(scores.len());
        scores[at].1 = (scores[at].1 + by).min(1.0);
        let after = judge(&policy, &scores);
        prop_assert!(after.action >= before.action);
        prop_assert!(after.findings.len() >= before.findings.len());
    }

    #[test]
    fn a_further_score_never_softens(policy in policy(), mut scores in scores(), further in (category(), 0.0_f32..=1.0)) {
        let before = judge(&policy, &scores);
        scores.push(further);
        prop_assert!(judge(&policy, &scores).action >= before.action);
    }

    #[test]
    fn the_gravest_finding_decides(policy in policy(), scores in scores()) {
        let verdict = judge(&policy, &scores);
        let gravest = verdict.findings.iter().map(|finding| finding.action).max().unwrap_or(Action::Allow);
        prop_assert_eq!(verdict.action, gravest);
        prop_assert_eq!(verdict.findings.first().map_or(Action::Allow, |finding| finding.action), gravest);
        prop_assert!(verdict.findings.iter().all(|finding| finding.score >= finding.threshold));
    }

    #[test]
    fn the_order_of_scores_is_nothing(policy in policy(), scores in scores()) {
        let reversed: Scores = scores.iter().rev().copied().collect();
        prop_assert_eq!(judge(&policy, &scores), judge(&policy, &reversed));
    }

    #[test]
    fn what_the_policy_does_not_name_is_nothing(policy in policy(), scores in scores()) {
        let named: Vec<_> = policy.categories(Stage::Input, Medium::Text).collect();
        let relevant: Scores = scores.iter().copied().filter(|(category, _)| named.contains(category)).collect();
        prop_assert_eq!(judge(&policy, &scores), judge(&policy, &relevant));
    }

    #[test]
    fn the_failure_mode_decides_what_was_not_measured(policy in policy(), mut scores in scores()) {
        let missing = policy.categories(Stage::Input, Medium::Text).next().unwrap();
        scores.retain(|(category, _)| *category != missing);
        let supported: Vec<_> = CategoryId::ALL.iter().copied().filter(|c| *c != missing).collect();
        let verdict = policy.judge(Stage::Input, Medium::Text, &scores, &supported);
        prop_assert!(verdict.unmeasured);
        let measured = judge(&policy, &scores);
        match policy.on_moderation_failure() {
            FailureMode::FailOpen => prop_assert_eq!(verdict.action, measured.action),
            FailureMode::FailClosed => prop_assert_eq!(verdict.action, Action::Block),
        }
        // A finding that blocks is told from a failure that blocks.
        let expected = match (measured.action, policy.on_moderation_failure()) {
            (Action::Block, _) => Outcome::Blocked,
            (_, FailureMode::FailClosed) => Outcome::Unavailable,
            (_, FailureMode::FailOpen) => Outcome::Pass,
        };
        prop_assert_eq!(verdict.outcome(), expected);
    }

    #[test]
    fn unsupported_categories_are_named_and_decide_nothing(policy in policy()) {
        let verdict = judge(&policy, &Vec::new());
        prop_assert_eq!(verdict.action, Action::Allow);
        prop_assert!(!verdict.unmeasured);
        prop_assert_eq!(verdict.unsupported, policy.categories(Stage::Input, Medium::Text).collect::<Vec<_>>());
    }

    #[test]
    fn a_score_that_is_no_number_is_the_gravest(policy in policy()) {
        let scores: Scores = CategoryId::ALL.iter().map(|category| (*category, f32::NAN)).collect();
        prop_assert_eq!(judge(&policy, &scores).outcome(), Outcome::Blocked);
    }

    #[test]
    fn pieces_join_to_the_gravest(policy in policy(), a in scores(), b in scores(), c in scores()) {
        let [a, b, c] = [judge(&policy, &a), judge(&policy, &b), judge(&policy, &c)];
        let joined = a.clone().join(&b).join(&c);
        prop_assert_eq!(joined.action, a.action.max(b.action).max(c.action));
        prop_assert_eq!(&joined, &a.clone().join(&c).join(&b));
        prop_assert_eq!(&joined, &joined.clone().join(&a));
    }
}

#[test]
fn a_stage_without_categories_needs_no_measurement() {
    let text = "version: 1\ndefault_policy: p\npolicies:\n  p:\n    on_moderation_failure: fail_closed\n    \
                input: {categories: {hate: {block: 0.5}}}\n    output: {categories: {}}\n";
    let rules = Ruleset::parse(text).unwrap();
    let policy = rules.policy_of(&TenantId::default_tenant()).unwrap();
    assert_eq!(policy.judge_unmeasured(Stage::Output, Medium::Text).outcome(), Outcome::Pass);
    assert_eq!(policy.judge_unmeasured(Stage::Input, Medium::Text).outcome(), Outcome::Unavailable);
}

#[test]
fn a_score_at_the_threshold_reaches_it() {
    let text = "version: 1\ndefault_policy: p\npolicies:\n  p:\n    on_moderation_failure: fail_open\n    \
                input: {categories: {hate: {flag: 0.5, block: 0.75}}}\n    output: {categories: {}}\n";
    let rules = Ruleset::parse(text).unwrap();
    let policy = rules.policy_of(&TenantId::default_tenant()).unwrap();
    let action = |score| policy.judge(Stage::Input, Medium::Text, &[(CategoryId::Hate, score)], &[]).action;
    assert_eq!(
        [0.49, 0.5, 0.74, 0.75].map(action),
        [Action::Allow, Action::Flag, Action::Flag, Action::Block]
    );
}
