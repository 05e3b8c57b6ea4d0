//! Clips: where each frame of a walk lies.

use atelier_media::ClipFormat;
use atelier_pipeline::{Conditioning, Noise};

use crate::latent::{eased, place};

/// A checked walk.
#[derive(Clone, Debug)]
pub(crate) struct Clip {
    /// Never empty.
    pub(crate) keyframes: Vec<Keyframe>,
    pub(crate) format: ClipFormat,
    pub(crate) frames_per_second: u32,
    /// 2 or more.
    pub(crate) frames: usize,
    /// The walk returns to its first keyframe.
    pub(crate) is_loop: bool,
    /// 1 to 100.
    pub(crate) quality: u8,
    /// Share of the noise's variance that each frame draws anew, 0 to 1.
    pub(crate) drift: f32,
}

/// A place on a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keyframe {
    pub(crate) prompt: String,
    pub(crate) negative_prompt: String,
    pub(crate) seed: u64,
}

/// One frame: between two keyframes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    pub(crate) from: &'a Keyframe,
    pub(crate) to: &'a Keyframe,
    /// 0 at `from`, 1 at `to`.
    pub(crate) weight: f32,
    drift: f32,
    index: usize,
}

impl Clip {
    /// Frame `index`, counted from 0.
    pub(crate) fn frame(&self, index: usize) -> Frame<'_> {
        let count = self.keyframes.len();
        let (leg, share) = place(index, self.frames, count, self.is_loop);
        let (from, to) = (&self.keyframes[leg], &self.keyframes[(leg + 1) % count]);
        Frame { from, to, weight: eased(share), drift: self.drift, index }
    }
}

impl Frame<'_> {
    /// What is to be seen.
    pub(crate) fn prompt(&self) -> Conditioning {
        self.words(|keyframe| &keyframe.prompt)
    }

    /// What is not.
    pub(crate) fn negative_prompt(&self) -> Conditioning {
        self.words(|keyframe| &keyframe.negative_prompt)
    }

    fn words(&self, of: fn(&Keyframe) -> &String) -> Conditioning {
        let (from, to) = (of(self.from), of(self.to));
        if from == to {
            Conditioning::Prompt(from.clone())
        } else {
            Conditioning::Between { from: from.clone(), to: to.clone(), weight: self.weight }
        }
    }

    /// The noise it is made of.
    pub(crate) fn noise(&self) -> Noise {
        let (from, to) = (self.from.seed, self.to.seed);
        if from == to && self.drift == 0.0 {
            return Noise::Seed(from);
        }
        // A seed of its own for each frame, far from those that callers name.
        let drift_seed = from.wrapping_add(1 << 40).wrapping_add(self.index as u64);
        Noise::Between { from, to, weight: self.weight, drift: self.drift, drift_seed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(frames: usize, is_loop: bool) -> Clip {
        let keyframe =
            |prompt: &str, seed| Keyframe { prompt: prompt.into(), negative_prompt: String::new(), seed };
        Clip {
            keyframes: vec![keyframe("a cat", 1), keyframe("a cat", 2), keyframe("a dog", 2)],
            format: ClipFormat::Gif,
            frames_per_second: 10,
            frames,
            is_loop,
            quality: 80,
            drift: 0.0,
        }
    }

    #[test]
    fn frames_meet_keyframes_and_change_only_what_differs() {
        let clip = clip(5, false);
        assert_eq!(clip.frame(0).prompt(), Conditioning::prompt("a cat"));
        let quarter = clip.frame(1);
        assert_eq!(quarter.prompt(), Conditioning::prompt("a cat"), "only the seed moves");
        assert!(matches!(quarter.noise(), Noise::Between { from: 1, to: 2, weight, .. } if weight == 0.5));
        let late = clip.frame(3);
        assert_eq!(late.noise(), Noise::Seed(2), "only the words move");
        assert!(matches!(late.prompt(), Conditioning::Between { weight, .. } if weight == 0.5));
        assert_eq!(clip.frame(4).weight, 1.0);
    }

    #[test]
    fn a_loop_comes_back_without_showing_its_start_twice() {
        let clip = clip(6, true);
        let last = clip.frame(5);
        assert_eq!((last.from.prompt.as_str(), last.to.prompt.as_str()), ("a dog", "a cat"));
        assert!(last.weight < 1.0);
    }

    #[test]
    fn drift_gives_each_frame_noise_of_its_own() {
        let mut clip = clip(4, false);
        clip.keyframes.truncate(1);
        clip.drift = 0.2;
        let seeds: Vec<_> = (0..4)
            .map(|n| match clip.frame(n).noise() {
                Noise::Between { from: 1, to: 1, drift_seed, .. } => drift_seed,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(seeds.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
