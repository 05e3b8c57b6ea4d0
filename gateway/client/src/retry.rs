//! Trying again, politely.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// When and how often a call is tried again.
///
/// Only failures that the gateway marks as passing ([`crate::ClientError::is_retryable`]) are tried again, and of
/// generations only those refused before any work was done. Its `RetryInfo` is honoured: no try comes earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all; 1: never try again.
    pub max_attempts: u32,
    /// Wait before the second try where the gateway names none; doubled for each further one, half of it random.
    pub initial_backoff: Duration,
    /// Longest wait. A gateway that asks for more gets no further try: the caller is told instead.
    pub max_backoff: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    /// Never tries again.
    #[must_use]
    pub fn none() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// How long to wait after `failures` failed tries (1 or more), `asked` being the gateway's wish; `None`: give up.
    #[must_use]
    pub fn delay(&self, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        if failures >= self.max_attempts || asked.is_some_and(|asked| asked > self.max_backoff) {
            return None;
        }
        let doubled = self.initial_backoff.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let base = doubled.min(self.max_backoff);
        // Callers that were turned away together should not come back together.
        let jittered = base.mul_f64(0.5 + 0.5 * random_share());
        Some(asked.map_or(jittered, |asked| asked + base.mul_f64(0.25 * random_share())))
    }
}

/// A number in 0..1. The standard library seeds each `RandomState` afresh, which is random enough to spread retries.
fn random_share() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from((bits >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_are_bounded_and_never_earlier_than_asked(
            max_attempts in 1u32..6, failures in 1u32..40, asked in proptest::option::of(0u64..8_000)
        ) {
            let policy = RetryPolicy { max_attempts, ..RetryPolicy::default() };
            let asked = asked.map(Duration::from_millis);
            match policy.delay(failures, asked) {
                Some(delay) => {
                    prop_assert!(failures < max_attempts);
                    prop_assert!(delay >= asked.unwrap_or_default());
                    prop_assert!(delay <= policy.max_backoff + policy.max_backoff / 4);
                }
                None => prop_assert!(failures >= max_attempts || asked.is_some_and(|a| a > policy.max_backoff)),
            }
        }
    }

    #[test]
    fn waits_differ() {
        let policy = RetryPolicy::default();
        let delays: Vec<_> = (0..8).map(|_| policy.delay(1, None)).collect();
        assert!(delays.windows(2).any(|pair| pair[0] != pair[1]), "{delays:?}");
    }

    #[test]
    fn none_means_one_try() {
        assert_eq!(RetryPolicy::none().delay(1, None), None);
    }
}
