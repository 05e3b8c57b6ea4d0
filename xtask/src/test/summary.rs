//! Adding up the summary lines of test runs.

use std::{ops::AddAssign, time::Duration};

/// Counts of a run's tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    /// The sum of all `test result: ...` lines in what cargo test printed.
    pub(crate) fn sum(printed: &str) -> Self {
        let mut total = Self::default();
        for line in printed.lines() {
            if let Some(found) = line.trim_start().strip_prefix("test result: ") {
                total += Self::of(found);
            }
        }
        total
    }

    /// One line like those it was summed from.
    pub(crate) fn line(&self, took: Duration) -> String {
        let result = if self.failed == 0 { "ok" } else { "FAILED" };
        let Self { passed, failed, ignored } = self;
        let seconds = took.as_secs_f64();
        format!(
            "test result: {result}. {passed} passed; {failed} failed; {ignored} ignored; finished in {seconds:.2}s"
        )
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`
    fn of(line: &str) -> Self {
        let count = |what: &str| {
            let before = line.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(what));
            before.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
        };
        Self { passed: count("passed"), failed: count("failed"), ignored: count("ignored") }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_what_cargo_prints() {
        let printed = "\nrunning 3 tests\n...\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
                       finished in 0.50s\n\nrunning 2 tests\n.F\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; \
                       0 measured; 0 filtered out; finished in 1.00s\n";
        assert_eq!(Counts::sum(printed), Counts { passed: 4, failed: 1, ignored: 1 });
    }

    #[test]
    fn a_test_that_prints_the_words_is_not_counted() {
        assert_eq!(Counts::sum("it said: test result: ok. 9 passed; 0 failed"), Counts::default());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(passed in 0_u64..10_000, failed in 0_u64..10, ignored in 0_u64..10) {
            let counts = Counts { passed, failed, ignored };
            prop_assert_eq!(Counts::sum(&counts.line(Duration::from_millis(1234))), counts);
        }
    }
}
