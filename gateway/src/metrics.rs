//! What the gateway counts. Labels have few values: never a tenant's or a caller's text.

use std::time::{Duration, Instant};

use atelier_policy::Verdict;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const VERDICTS: &str = "atelier_gateway_verdicts_total";
const MODERATION_SECONDS: &str = "atelier_gateway_moderation_seconds";
const MODERATION_FAILURES: &str = "atelier_gateway_moderation_failures_total";
const WINDOWS: &str = "atelier_gateway_windows_total";
const PICTURES: &str = "atelier_gateway_pictures_total";
const HELD_SECONDS: &str = "atelier_gateway_held_seconds";
const POLICY_INFO: &str = "atelier_gateway_policy_info";
const POLICY_RELOADS: &str = "atelier_gateway_policy_reloads_total";
const POLICY_REJECTED: &str = "atelier_gateway_policy_rejected";
const UPSTREAM_UP: &str = "atelier_gateway_upstream_up";
const AUDIT_LINES: &str = "atelier_gateway_audit_lines_total";
const AUDIT_FAILING: &str = "atelier_gateway_audit_failing";

/// Registers the help texts.
pub(crate) fn describe() {
    describe_counter!(
        VERDICTS,
        "Decisions, by stage, action and category; without findings the category is \"none\""
    );
    describe_histogram!(MODERATION_SECONDS, "Time of the measurement behind a decision");
    describe_counter!(MODERATION_FAILURES, "Measurements that failed, so that the failure mode decided");
    describe_counter!(WINDOWS, "Windows of output that were judged");
    describe_counter!(
        PICTURES,
        "Pictures that were judged, by stage and part: picture, preview, frame or sheet"
    );
    describe_histogram!(HELD_SECONDS, "Age of the oldest text of a window when its verdict came");
    describe_gauge!(POLICY_INFO, "1 for the version of the policy in force");
    describe_counter!(POLICY_RELOADS, "Changed policy files, by result: taken or rejected");
    describe_gauge!(
        POLICY_REJECTED,
        "1 while the policy file is wrong and the rules before it stay in force"
    );
    describe_gauge!(UPSTREAM_UP, "1 for an upstream that answered last time");
    describe_counter!(AUDIT_LINES, "Lines written to the audit trail");
    describe_gauge!(AUDIT_FAILING, "1 while the audit trail can't be written and calls are refused");
}

pub(crate) fn verdict(verdict: &Verdict) {
    let (stage, action) = (verdict.stage.as_str(), verdict.action.as_str());
    if verdict.findings.is_empty() {
        counter!(VERDICTS, "stage" => stage, "action" => action, "category" => "none").increment(1);
    }
    for finding in &verdict.findings {
        let (action, category) = (finding.action.as_str(), finding.category.as_str());
        counter!(VERDICTS, "stage" => stage, "action" => action, "category" => category).increment(1);
    }
}

pub(crate) fn measured(stage: &'static str, since: Instant) {
    histogram!(MODERATION_SECONDS, "stage" => stage).record(since.elapsed().as_secs_f64());
}

pub(crate) fn moderation_failed(stage: &'static str) {
    counter!(MODERATION_FAILURES, "stage" => stage).increment(1);
}

pub(crate) fn windows(count: usize, held: Option<Duration>) {
    counter!(WINDOWS).increment(count as u64);
    if let Some(held) = held {
        histogram!(HELD_SECONDS).record(held.as_secs_f64());
    }
}

pub(crate) fn pictures(stage: &'static str, part: &'static str, count: usize) {
    counter!(PICTURES, "stage" => stage, "part" => part).increment(count as u64);
}

pub(crate) fn policy_taken(before: Option<&str>, now: &str) {
    if let Some(before) = before {
        gauge!(POLICY_INFO, "version" => before.to_owned()).set(0);
        counter!(POLICY_RELOADS, "result" => "taken").increment(1);
    }
    gauge!(POLICY_INFO, "version" => now.to_owned()).set(1);
    gauge!(POLICY_REJECTED).set(0);
}

pub(crate) fn policy_rejected() {
    counter!(POLICY_RELOADS, "result" => "rejected").increment(1);
    gauge!(POLICY_REJECTED).set(1);
}

pub(crate) fn policy_as_in_force() {
    gauge!(POLICY_REJECTED).set(0);
}

pub(crate) fn upstream(kind: &'static str, endpoint: &str, up: bool) {
    gauge!(UPSTREAM_UP, "kind" => kind, "endpoint" => endpoint.to_owned()).set(u8::from(up));
}

pub(crate) fn audit_lines(count: usize) {
    counter!(AUDIT_LINES).increment(count as u64);
}

pub(crate) fn audit_failing(failing: bool) {
    gauge!(AUDIT_FAILING).set(u8::from(failing));
}
