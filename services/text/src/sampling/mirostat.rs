//! Mirostat 2.0 (Basu et al., 2021, <https://arxiv.org/abs/2007.14966>, algorithm 2): keeps an answer's mean surprise at a target.

/// What an answer is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// The mean surprise that is aimed at, in bits; above 0.
    pub tau: f32,
    /// How fast it is followed, above 0 and up to 1.
    pub eta: f32,
}

/// An answer's own bound.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    params: Mirostat,
    /// The most surprise that a token may have, in bits.
    pub(super) mu: f64,
}

impl Follower {
    pub(super) fn new(params: Mirostat) -> Self {
        Self { params, mu: 2.0 * f64::from(params.tau) }
    }

    /// Keeps the tokens whose surprise is at most mu, or the likeliest.
    pub(super) fn narrow(&self, kept: &mut Vec<(u32, f32)>) {
        let total: f64 = kept.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let least = total * (-self.mu).exp2();
        // The first of the likeliest has a weight of 1.
        let likeliest = kept.iter().copied().find(|&(_, weight)| weight == 1.0);
        kept.retain(|&(_, weight)| f64::from(weight) >= least);
        if kept.is_empty() {
            kept.extend(likeliest);
        }
    }

    /// Takes in how surprising the token was that was drawn from those kept.
    pub(super) fn hear(&mut self, token: u32, kept: &[(u32, f32)]) {
        let total: f64 = kept.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let drawn = kept.iter().find(|&&(other, _)| other == token);
        let surprise = drawn.map_or(0.0, |&(_, weight)| (total / f64::from(weight)).log2());
        self.mu -= f64::from(self.params.eta) * (surprise - f64::from(self.params.tau));
    }
}
