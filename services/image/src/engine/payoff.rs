//! Whether calls should share a run of the model. On a GPU they should; on a processor that one call keeps busy, a
//! shared run takes as long as two, and each call only waits longer for its step. So it is measured.

use std::time::Duration;

/// Weight of the newest measurement in the moving averages.
const NEWEST: f64 = 0.2;
/// Every so many choices the way that seems slower is taken, to see whether it still is.
const LOOK_AGAIN: u32 = 16;
/// A shared run must be faster by this factor: at equal speed the shorter wait for a single step is the better deal.
const GAIN: f64 = 0.97;

/// Seconds for a unit of work, both ways.
#[derive(Debug, Default)]
pub(super) struct Payoff {
    alone: Option<f64>,
    together: Option<f64>,
    choices: u32,
}

impl Payoff {
    /// Whether the next run of calls that could share it should be shared.
    pub(super) fn share(&mut self) -> bool {
        self.choices = self.choices.wrapping_add(1);
        let (Some(alone), Some(together)) = (self.alone, self.together) else {
            return self.together.is_none();
        };
        let pays = together < alone * GAIN;
        if self.choices.is_multiple_of(LOOK_AGAIN) { !pays } else { pays }
    }

    /// A run of so many calls with so much work took this long.
    pub(super) fn measured(&mut self, calls: usize, work: f64, time: Duration) {
        if work <= 0.0 {
            return;
        }
        let average = if calls > 1 { &mut self.together } else { &mut self.alone };
        let each = time.as_secs_f64() / work;
        *average = Some(average.map_or(each, |old| old + NEWEST * (each - old)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(payoff: &mut Payoff, seconds_together: u64) -> usize {
        (0..64)
            .filter(|_| {
                let share = payoff.share();
                let (calls, time) = if share { (2, seconds_together) } else { (1, 10) };
                payoff.measured(calls, calls as f64, Duration::from_secs(time));
                share
            })
            .count()
    }

    #[test]
    fn what_is_faster_is_done_and_the_other_way_looked_at_now_and_then() {
        assert!(shares(&mut Payoff::default(), 12) > 50, "two in 12 s beat two times 10 s");
        let seldom = shares(&mut Payoff::default(), 20);
        assert!((1..10).contains(&seldom), "two in 20 s win nothing: {seldom}");
    }

    #[test]
    fn it_changes_its_mind() {
        let mut payoff = Payoff::default();
        shares(&mut payoff, 30);
        shares(&mut payoff, 11);
        assert!((0..200).map(|_| shares(&mut payoff, 11)).last() > Some(50));
    }
}
