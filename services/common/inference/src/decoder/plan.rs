//! Which rows of a step share a run: pure arithmetic.

use std::{cmp::Reverse, iter, ops::Range};

use super::Row;

/// Most idle slots between two decoding rows of one run. An idle row costs about 0.4 of what starting another run
/// costs (measured on the default model: a run of n rows takes about 11 + 4.5 n ms on one thread), so a gap of two is
/// cheaper than a second run and a gap of three is not.
const MAX_IDLE_GAP: usize = 2;

/// One call of the model within a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The view: these slots, some of which may idle.
    pub(super) slots: Range<usize>,
    /// Tokens of each row: 1 for decoding rows, more for a single prefilling row.
    pub(super) width: usize,
    /// Which rows of the step take part, in the order of the step.
    pub(super) rows: Vec<usize>,
}

/// Checks a step's rows; the error says what is wrong.
pub(super) fn check(
    rows: &[Row<'_>],
    slots: usize,
    context_length: usize,
    vocabulary: usize,
) -> Result<(), String> {
    let mut taken = vec![false; slots];
    for row in rows {
        match taken.get_mut(row.slot) {
            Some(taken) if !*taken => *taken = true,
            Some(_) => return Err(format!("slot {} is named twice", row.slot)),
            None => return Err(format!("slot {} of {slots}", row.slot)),
        }
        if row.tokens.is_empty() {
            return Err(format!("slot {} has no tokens", row.slot));
        }
        let end = row.position.checked_add(row.tokens.len());
        if end.is_none_or(|end| end > context_length) {
            let (position, tokens) = (row.position, row.tokens.len());
            return Err(format!("{tokens} tokens at {position} of a context of {context_length}"));
        }
        if row.logits > row.tokens.len() {
            return Err(format!("logits after {} of {} tokens", row.logits, row.tokens.len()));
        }
        if let Some(token) = row.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(format!("token {token} of a vocabulary of {vocabulary}"));
        }
    }
    Ok(())
}

/// Groups the rows of a step into runs: decoding rows together, prefilling rows one by one.
pub(super) fn plan(rows: &[Row<'_>], idle_rows: bool) -> Vec<Run> {
    let gap = if idle_rows { MAX_IDLE_GAP } else { 0 };
    let mut decoding: Vec<usize> = (0..rows.len()).filter(|&n| rows[n].tokens.len() == 1).collect();
    decoding.sort_unstable_by_key(|&n| rows[n].slot);
    let mut runs: Vec<Run> = Vec::new();
    for n in decoding {
        let slot = rows[n].slot;
        match runs.last_mut() {
            Some(run) if slot - run.slots.end <= gap => {
                run.slots.end = slot + 1;
                run.rows.push(n);
            }
            _ => runs.push(Run { slots: slot..slot + 1, width: 1, rows: vec![n] }),
        }
    }
    for run in &mut runs {
        run.rows.sort_unstable();
    }
    for (n, row) in rows.iter().enumerate().filter(|(_, row)| row.tokens.len() > 1) {
        runs.push(Run { slots: row.slot..row.slot + 1, width: row.tokens.len(), rows: vec![n] });
    }
    runs
}

/// Groups the rows of a step into runs of one past: decoding rows that hold equally many tokens together or, where the
/// shorter ones may be padded, those that hold at least half as many as the longest of their run; prefilling rows one
/// by one. The rows of a run are in the order of their slots, so that slots that go on together make the same run again.
pub(super) fn alike(rows: &[Row<'_>], padding: bool) -> Vec<Vec<usize>> {
    let (mut decoding, prefilling): (Vec<usize>, Vec<usize>) =
        (0..rows.len()).partition(|&n| rows[n].tokens.len() == 1);
    decoding.sort_unstable_by_key(|&n| Reverse(rows[n].position));
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for n in decoding {
        let position = rows[n].position;
        let fits = |longest: usize| position == longest || padding && position * 2 >= longest;
        match runs.last_mut() {
            Some(run) if fits(rows[run[0]].position) => run.push(n),
            _ => runs.push(vec![n]),
        }
    }
    runs.iter_mut().for_each(|run| run.sort_unstable_by_key(|&n| rows[n].slot));
    runs.extend(prefilling.into_iter().map(|n| vec![n]));
    runs
}

/// Where each row of logits stands when the runs write theirs one after another; `run` gives the rows of the step in that order.
pub(super) fn order(rows: &[Row<'_>], run: impl Iterator<Item = usize>) -> Vec<usize> {
    let written: Vec<usize> = run.flat_map(|n| iter::repeat_n(n, rows[n].logits)).collect();
    let mut order: Vec<usize> = (0..written.len()).collect();
    // `written` lists rows by place; sorting the places by row gives those of each row, in order.
    order.sort_by_key(|&place| written[place]);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(rows: &[Row<'_>], runs: &[Run]) -> Vec<usize> {
        order(rows, runs.iter().flat_map(|run| &run.rows).copied())
    }

    fn row(slot: usize, tokens: &[u32], logits: bool) -> Row<'_> {
        Row { slot, tokens, position: 0, logits: usize::from(logits) }
    }

    #[test]
    fn decoding_rows_share_a_run_and_prefilling_rows_do_not() {
        let rows = [row(3, &[1], true), row(0, &[1, 2, 3], false), row(1, &[1], true), row(2, &[4, 5], true)];
        let runs = plan(&rows, true);
        assert_eq!(
            runs,
            [
                Run { slots: 1..4, width: 1, rows: vec![0, 2] },
                Run { slots: 0..1, width: 3, rows: vec![1] },
                Run { slots: 2..3, width: 2, rows: vec![3] },
            ]
        );
        assert_eq!(order_of(&rows, &runs), [0, 1, 2]);
    }

    #[test]
    fn logits_come_in_the_order_of_the_step() {
        // The prefilling row comes first in the step and last in the runs.
        let rows = [row(5, &[1, 2], true), row(0, &[1], true), row(7, &[1], false), row(1, &[1], true)];
        let runs = plan(&rows, true);
        assert_eq!(order_of(&rows, &runs), [2, 0, 1]);
        let many = [Row { logits: 2, ..rows[0] }, rows[1], rows[2], rows[3]];
        assert_eq!(order_of(&many, &runs), [2, 3, 0, 1]);
    }

    #[test]
    fn a_wide_gap_of_idle_slots_is_left_out() {
        let rows = [row(0, &[1], true), row(3, &[1], true), row(7, &[1], true)];
        let slots = |idle_rows| plan(&rows, idle_rows).into_iter().map(|run| run.slots).collect::<Vec<_>>();
        assert_eq!(slots(true), [0..4, 7..8]);
        assert_eq!(slots(false), [0..1, 3..4, 7..8]);
    }

    #[test]
    fn decoding_rows_alike_share_a_run() {
        let at = |slot, tokens, position| Row { position, ..row(slot, tokens, true) };
        let rows = [at(4, &[1], 9), at(0, &[1], 9), at(1, &[1, 2], 9), at(3, &[1], 4), at(2, &[1], 5)];
        let runs = alike(&rows, false);
        assert_eq!(runs, [vec![1, 0], vec![4], vec![3], vec![2]]);
        assert_eq!(order(&rows, runs.into_iter().flatten()), [1, 0, 4, 3, 2]);
        assert_eq!(alike(&rows, true), [vec![1, 4, 0], vec![3], vec![2]]);
    }

    #[test]
    fn rows_that_make_no_sense_are_refused() {
        let check = |rows: &[Row<'_>]| check(rows, 2, 4, 10);
        assert_eq!(check(&[row(0, &[1, 2, 3, 9], true), row(1, &[0], true)]), Ok(()));
        for bad in [
            vec![row(0, &[1], true), row(0, &[1], true)],
            vec![row(2, &[1], true)],
            vec![row(0, &[], true)],
            vec![row(0, &[1; 5], true)],
            vec![Row { position: 4, ..row(0, &[1], true) }],
            vec![Row { position: usize::MAX, ..row(0, &[1], true) }],
            vec![row(0, &[10], true)],
            vec![Row { logits: 2, ..row(0, &[1], true) }],
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
