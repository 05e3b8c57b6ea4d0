//! Beam search: the few likeliest beginnings of an answer are written on side by side, and the likeliest whole one wins.
//!
//! As Hugging Face transformers searches (`GenerationMixin._beam_search` with `early_stopping=False`): penalties and biases
//! change log-probabilities, not logits; a beginning ends when an end token is among the `count` likeliest continuations;
//! ended answers are compared by `score / tokens^length_penalty`; and the search is over once `count` have ended and the
//! likeliest beginning, by the length it has, is no better than the worst of them.

use crate::{
    TextError,
    sampling::{Sampler, likeliest, log_softmax},
};

/// How a search is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamSearch {
    /// Beginnings that are kept, 2 or more.
    pub count: usize,
    /// Above 0 favours long answers, below 0 short ones; 1 compares by the mean log-probability of a token.
    pub length_penalty: f64,
}

/// A search under way.
#[derive(Debug)]
pub(super) struct Beams {
    search: BeamSearch,
    /// Those that are written on, each in its place; one before the first step.
    open: Vec<Beam>,
    /// The best answers that have ended, best first; as many as the search has beams at most.
    ended: Vec<Answer>,
}

#[derive(Clone, Debug)]
struct Beam {
    tokens: Vec<u32>,
    /// Sum of the log-probabilities of its tokens, as penalties and biases have left them.
    score: f64,
    sampler: Sampler,
}

#[derive(Debug)]
struct Answer {
    tokens: Vec<u32>,
    score: f64,
}

/// A token that a beam may go on with.
struct Candidate {
    place: usize,
    token: u32,
    score: f64,
}

/// What a step of a search came to.
#[derive(Debug, PartialEq)]
pub(super) enum Searched {
    /// It goes on, once the rows of some places are copied to others: from, to.
    GoesOn(Vec<(usize, usize)>),
    /// These tokens are the answer.
    Found(Vec<u32>),
}

impl Beams {
    pub(super) fn new(search: BeamSearch, sampler: Sampler) -> Self {
        Self { search, open: vec![Beam { tokens: Vec::new(), score: 0.0, sampler }], ended: Vec::new() }
    }

    /// The token that comes next in each place.
    pub(super) fn input(&self) -> impl Iterator<Item = u32> {
        self.open.iter().filter_map(|beam| beam.tokens.last().copied())
    }

    /// Places that are written on: one before the first step, then as many as the search has beams.
    pub(super) fn places(&self) -> usize {
        self.open.len()
    }

    /// Takes what the model said in each place, in order. Rows are overwritten.
    ///
    /// # Errors
    /// The logits are none, or leave no token possible.
    pub(super) fn step<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a mut [f32]>,
        end_tokens: &[u32],
        limit: usize,
    ) -> Result<Searched, TextError> {
        let count = self.search.count;
        // Enough for `count` beams to go on if every end token is among the likeliest.
        let kept = count * (end_tokens.len() + 1).max(2);
        let mut candidates = Vec::new();
        for (place, (beam, logits)) in self.open.iter().zip(rows).enumerate() {
            log_softmax(logits).ok_or(TextError::BrokenLogits)?;
            beam.sampler.adjust(logits);
            let likeliest = likeliest(logits, kept).into_iter();
            candidates.extend(likeliest.map(|(token, logprob)| Candidate {
                place,
                token,
                score: beam.score + f64::from(logprob),
            }));
        }
        candidates.sort_by(|one, other| other.score.total_cmp(&one.score));
        candidates.truncate(kept);
        let written = self.open[0].tokens.len() + 1;
        let mut children = Vec::with_capacity(count);
        for (rank, candidate) in candidates.iter().enumerate() {
            let ends = written >= limit || end_tokens.contains(&candidate.token);
            if ends && rank < count {
                self.end(candidate, written);
            } else if !ends && children.len() < count {
                children.push(candidate);
            }
        }
        let best_open = children.first().map(|best| self.worth(best.score, written));
        let is_over = match (best_open, self.ended.last()) {
            (Some(open), Some(worst)) => self.ended.len() == count && open <= worst.score,
            (None, _) => true,
            (Some(_), None) => false,
        };
        if is_over {
            let best = self.ended.drain(..).next().ok_or(TextError::BrokenLogits)?;
            return Ok(Searched::Found(best.tokens));
        }
        Ok(Searched::GoesOn(self.place(&children)))
    }

    fn worth(&self, score: f64, tokens: usize) -> f64 {
        score / (tokens as f64).powf(self.search.length_penalty)
    }

    fn end(&mut self, candidate: &Candidate, written: usize) {
        let score = self.worth(candidate.score, written);
        let at = self.ended.partition_point(|answer| answer.score >= score);
        if at < self.search.count {
            let mut tokens = self.open[candidate.place].tokens.clone();
            tokens.push(candidate.token);
            self.ended.insert(at, Answer { tokens, score });
            self.ended.truncate(self.search.count);
        }
    }

    /// Gives each child a place: a beam's first child the beam's own, others those of beams that have none. Gives the
    /// copies that bring their rows there. Places that are left repeat the best child, as unlikely as can be.
    fn place(&mut self, children: &[&Candidate]) -> Vec<(usize, usize)> {
        let mut placed: Vec<Option<Beam>> = (0..self.search.count).map(|_| None).collect();
        let child = |candidate: &Candidate| {
            let mut beam = self.open[candidate.place].clone();
            beam.tokens.push(candidate.token);
            beam.sampler.took(candidate.token);
            beam.score = candidate.score;
            beam
        };
        let mut further = Vec::new();
        for candidate in children {
            match &mut placed[candidate.place] {
                own @ None => *own = Some(child(candidate)),
                Some(_) => further.push((candidate.place, child(candidate))),
            }
        }
        let best = children.first().map(|best| (best.place, child(best)));
        let filler =
            best.into_iter().cycle().map(|(place, beam)| (place, Beam { score: f64::NEG_INFINITY, ..beam }));
        let mut waiting = further.into_iter().chain(filler);
        let mut copies = Vec::new();
        for (to, place) in placed.iter_mut().enumerate() {
            if place.is_none()
                && let Some((from, beam)) = waiting.next()
            {
                *place = Some(beam);
                copies.push((from, to));
            }
        }
        self.open = placed.into_iter().flatten().collect();
        copies
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sampling::Sampling;

    const END: u32 = 0;

    /// Log-probabilities that depend on all tokens before.
    fn logits(tokens: &[u32], vocabulary: u32) -> Vec<f32> {
        let hash = tokens
            .iter()
            .fold(7_u64, |hash, &token| (hash ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..u64::from(vocabulary))
            .map(|token| ((hash ^ token).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 50) as f32 / 4000.0)
            .collect()
    }

    /// The answer, and how many steps it took; rows are followed through the copies.
    fn search(count: usize, length_penalty: f64, vocabulary: u32, limit: usize) -> Vec<u32> {
        let mut beams =
            Beams::new(BeamSearch { count, length_penalty }, Sampler::new(Sampling::default(), &[]));
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); count];
        loop {
            let mut said: Vec<Vec<f32>> =
                rows.iter().take(beams.places()).map(|tokens| logits(tokens, vocabulary)).collect();
            match beams.step(said.iter_mut().map(Vec::as_mut_slice), &[END], limit).expect("logits are sound")
            {
                Searched::Found(answer) => return answer,
                Searched::GoesOn(copies) => {
                    copies.into_iter().for_each(|(from, to)| rows[to] = rows[from].clone());
                    rows.iter_mut().zip(beams.input()).for_each(|(row, token)| row.push(token));
                    for (row, beam) in rows.iter().zip(&beams.open) {
                        assert_eq!(row, &beam.tokens, "rows are those of the beam's own tokens");
                    }
                }
            }
        }
    }

    /// Of all answers, the one with the largest sum of log-probabilities.
    fn best_of_all(vocabulary: u32, limit: usize, tokens: &mut Vec<u32>, score: f64) -> (f64, Vec<u32>) {
        let mut logprobs = logits(tokens, vocabulary);
        log_softmax(&mut logprobs).expect("they are finite");
        let ends = |tokens: &[u32]| tokens.len() == limit || tokens.last() == Some(&END);
        let tried = (0..vocabulary).map(|token| {
            tokens.push(token);
            let score = score + f64::from(logprobs[token as usize]);
            let found = if ends(tokens) {
                (score, tokens.clone())
            } else {
                best_of_all(vocabulary, limit, tokens, score)
            };
            tokens.pop();
            found
        });
        tried.max_by(|one, other| one.0.total_cmp(&other.0)).expect("there are tokens")
    }

    #[test]
    fn with_beams_enough_it_finds_the_best_there_is() {
        for vocabulary in 2..5 {
            for limit in 1..5 {
                let (_, best) = best_of_all(vocabulary, limit, &mut Vec::new(), 0.0);
                assert_eq!(search(625, 0.0, vocabulary, limit), best, "{vocabulary} tokens, {limit} long");
            }
        }
    }

    proptest! {
        #[test]
        fn it_ends_within_the_limit(count in 2_usize..7, vocabulary in 2_u32..40, limit in 1_usize..30, penalty in -2.0..2.0) {
            let answer = search(count, penalty, vocabulary, limit);
            prop_assert!(!answer.is_empty() && answer.len() <= limit);
            let ended = answer.last() == Some(&END);
            prop_assert!(ended || answer.len() == limit);
            prop_assert!(!answer[..answer.len() - 1].contains(&END));
        }
    }
}
