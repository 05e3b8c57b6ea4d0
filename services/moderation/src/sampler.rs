//! Which frames of a moving picture are measured.
//!
//! Half of the places go to frames spread over time, half to those that differ most from the other ones kept: a scene of
//! seconds has its share whatever the rest shows, so frames of high contrast strewn in can't push it out, and a flash of one
//! frame is not missed among frames that are alike. Frames come one after another and how many there will be
//! is not known, so what is kept is thinned as it grows; memory holds no more frames than there are places.

use std::convert::Infallible;

use atelier_media::{Filter, MediaError, resize_rgb};
use image::RgbImage;

/// Side of a sketch, in cells.
const SIDE: u32 = 16;
/// Of 255: two frames whose sketches differ by less show the same, as far as noise of coding lets one tell.
const LEAST_CHANGE: f32 = 2.0;

/// Levels of red, green or blue between two cells of one colour.
const ONE_COLOUR: u8 = 12;

/// A frame's colours on a coarse grid, by which frames are compared. Default: of none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch(Vec<u8>);

impl Sketch {
    /// Means over the cells of a grid of 16 x 16, so that no pixel is left out.
    ///
    /// # Errors
    /// The resizer refused, which no picture with at least one pixel is known to cause.
    pub fn of(picture: &RgbImage) -> Result<Self, MediaError> {
        Ok(Self(resize_rgb(picture, SIDE, SIDE, Filter::Bilinear)?.into_raw()))
    }

    /// How much of the picture has one colour, 0 to 1: the share of cells within [`ONE_COLOUR`] of the cell that most are near to.
    #[must_use]
    pub fn ground(&self) -> f32 {
        let (cells, _) = self.0.as_chunks::<3>();
        let near = |a: &[u8; 3], b: &[u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= ONE_COLOUR);
        let most = cells.iter().map(|one| cells.iter().filter(|other| near(one, other)).count()).max();
        most.unwrap_or(0) as f32 / cells.len().max(1) as f32
    }

    /// Root of the mean square difference of all values, 0 to 255. A change in a part of the picture counts for more than in
    /// the mean.
    #[must_use]
    pub fn distance(&self, other: &Self) -> f32 {
        let squares = self.0.iter().zip(&other.0).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2));
        (squares.sum::<u64>() as f32 / self.0.len().max(1) as f32).sqrt()
    }
}

/// A frame that is kept.
#[derive(Clone, Debug)]
pub struct Sample<T> {
    /// When it is shown, in milliseconds.
    pub time_ms: u64,
    /// What is kept of it.
    pub content: T,
    /// What it looks like.
    pub sketch: Sketch,
}

impl<T> Sample<T> {
    /// The same frame, with something else kept of it.
    #[must_use]
    pub fn with<U>(&self, content: U) -> Sample<U> {
        Sample { time_ms: self.time_ms, content, sketch: self.sketch.clone() }
    }
}

/// At most so many of the samples, chosen among them as they were among the frames.
#[must_use]
pub fn chosen<T>(samples: Vec<Sample<T>>, places: usize) -> Vec<Sample<T>> {
    let mut sampler = Sampler::new(places);
    for Sample { time_ms, content, sketch } in samples {
        let Ok(()) = sampler.offer(time_ms, sketch, || Ok::<_, Infallible>(content));
    }
    sampler.into_samples()
}

/// Chooses among frames as they come.
#[derive(Debug)]
pub struct Sampler<T> {
    places: usize,
    /// In order of time, at least `interval_ms` apart.
    by_time: Vec<Sample<T>>,
    interval_ms: u64,
    /// Those that differ most, from each other and from those above.
    by_change: Vec<Sample<T>>,
}

impl<T> Sampler<T> {
    /// Keeps at most this many frames, and always the first.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: places.max(1), by_time: Vec::new(), interval_ms: 0, by_change: Vec::new() }
    }

    /// Shows it the next frame; `content` is called if the frame is kept, for now at least. Times never go back.
    ///
    /// # Errors
    /// Those of `content`.
    pub fn offer<E>(
        &mut self,
        time_ms: u64,
        sketch: Sketch,
        content: impl FnOnce() -> Result<T, E>,
    ) -> Result<(), E> {
        let is_due =
            self.by_time.last().is_none_or(|last| time_ms.saturating_sub(last.time_ms) >= self.interval_ms);
        if is_due {
            self.by_time.push(Sample { time_ms, content: content()?, sketch });
            for dropped in self.thin() {
                if let Some(place) = self.place_for(&dropped.sketch) {
                    self.place(place, dropped);
                }
            }
        } else if let Some(place) = self.place_for(&sketch) {
            self.place(place, Sample { time_ms, content: content()?, sketch });
        }
        Ok(())
    }

    /// What was kept, in order of time.
    #[must_use]
    pub fn into_samples(self) -> Vec<Sample<T>> {
        let mut samples = self.by_time;
        samples.extend(self.by_change);
        samples.sort_by_key(|sample| sample.time_ms);
        samples
    }

    /// When too many are kept by time, keeps those that lie far apart; the others.
    fn thin(&mut self) -> Vec<Sample<T>> {
        let most = self.places.div_ceil(2);
        let (Some(first), Some(last)) = (self.by_time.first(), self.by_time.last()) else {
            return Vec::new();
        };
        if self.by_time.len() <= most {
            return Vec::new();
        }
        // So far apart that about half of the places stay taken.
        let gaps = (most / 2).max(1) as u64;
        self.interval_ms = match most {
            1 => u64::MAX,
            _ => (last.time_ms - first.time_ms).div_ceil(gaps).max(1),
        };
        let (mut kept, mut dropped) = (Vec::<Sample<T>>::new(), Vec::new());
        for sample in std::mem::take(&mut self.by_time) {
            let near = kept.last().is_some_and(|last| sample.time_ms - last.time_ms < self.interval_ms);
            if near { dropped.push(sample) } else { kept.push(sample) }
        }
        self.by_time = kept;
        dropped
    }

    /// Where among those that differ a frame belongs: a free place, or that of one that is less apart from the rest.
    fn place_for(&self, sketch: &Sketch) -> Option<usize> {
        let apart = self.nearest(sketch, None);
        if apart < LEAST_CHANGE {
            return None;
        }
        if self.by_change.len() < self.places / 2 {
            return Some(self.by_change.len());
        }
        let others = self.by_change.iter().enumerate();
        let distances = others.map(|(place, kept)| (place, self.nearest(&kept.sketch, Some(place))));
        let (place, least) = distances.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (apart > least).then_some(place)
    }

    fn place(&mut self, place: usize, sample: Sample<T>) {
        match self.by_change.get_mut(place) {
            Some(known) => *known = sample,
            None => self.by_change.push(sample),
        }
    }

    /// Distance to the nearest frame that is kept, leaving out the one at this place among those that differ.
    fn nearest(&self, sketch: &Sketch, but: Option<usize>) -> f32 {
        let others = self.by_change.iter().enumerate().filter(|(place, _)| Some(*place) != but);
        let kept = self.by_time.iter().chain(others.map(|(_, sample)| sample));
        kept.map(|kept| kept.sketch.distance(sketch)).fold(f32::INFINITY, f32::min)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CELLS: usize = (SIDE * SIDE * 3) as usize;

    /// One colour all over, with noise of a level.
    fn plain(level: u8, noise: u8) -> Sketch {
        Sketch((0..CELLS).map(|cell| level.saturating_add((cell * 7 % 5) as u8 * noise / 4)).collect())
    }

    /// Numbers of the frames that are kept.
    fn sampled(places: usize, frames: impl IntoIterator<Item = (u64, Sketch)>) -> Vec<Sample<usize>> {
        let mut sampler = Sampler::new(places);
        for (number, (time_ms, sketch)) in frames.into_iter().enumerate() {
            sampler.offer(time_ms, sketch, || Ok::<_, Infallible>(number)).unwrap();
        }
        sampler.into_samples()
    }

    proptest! {
        #[test]
        fn a_flash_of_one_frame_is_kept_wherever_it_is(
            places in 2_usize..20,
            noise in proptest::collection::vec((100_u8..104, 0_u8..4, 1_u64..300), 1..200),
            at in any::<proptest::sample::Index>(),
        ) {
            let at = at.index(noise.len());
            let mut time = 0;
            let frames: Vec<_> = noise.iter().enumerate().map(|(n, (level, noise, delay))| {
                time += delay;
                (time, if n == at { plain(160, 0) } else { plain(*level, *noise) })
            }).collect();
            let kept = sampled(places, frames.clone());
            prop_assert!(kept.iter().any(|sample| sample.content == at && sample.time_ms == frames[at].0));
        }

        #[test]
        fn what_is_kept_is_bounded_in_order_and_spread(
            places in 1_usize..20,
            frames in proptest::collection::vec((any::<u8>(), 0_u64..500), 1..200),
        ) {
            let mut time = 0;
            let frames: Vec<_> = frames.into_iter().map(|(level, delay)| {
                time += delay;
                (time, plain(level, 0))
            }).collect();
            let kept = sampled(places, frames.clone());
            prop_assert!((1..=places).contains(&kept.len()));
            prop_assert_eq!(kept[0].time_ms, frames[0].0);
            prop_assert!(kept.is_sorted_by_key(|sample| sample.time_ms));
            for sample in &kept {
                prop_assert_eq!(sample.time_ms, frames[sample.content].0);
            }
            if places >= 4 {
                // Twice the interval and a frame either way, whenever it was thinned last.
                let span = frames[frames.len() - 1].0 - frames[0].0;
                let widest = 2 * span.div_ceil((places.div_ceil(2) / 2) as u64) + 2 * 500;
                let times = kept.iter().map(|sample| sample.time_ms).chain([frames[frames.len() - 1].0]);
                let times: Vec<_> = times.collect();
                prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= widest), "{times:?} {widest}");
            }
        }
    }

    #[test]
    fn every_frame_of_a_short_clip_is_kept() {
        let kept = sampled(16, (0..8).map(|n| (n * 100, plain(0, 0))));
        assert_eq!(kept.iter().map(|sample| sample.content).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn decoys_push_out_no_scene() {
        // A scene of a third of the time, and before and after it frames that each differ as much as can be from all others.
        let decoy = |n: usize| {
            Sketch((0..CELLS).map(|cell| if cell >> (n % 9) & 1 == 0 { 0 } else { 255 }).collect())
        };
        let frames = (0..300_usize).map(|n| {
            let shown = if (100..200).contains(&n) { plain(90, 1) } else { decoy(n) };
            (n as u64 * 40, shown)
        });
        let kept = sampled(16, frames);
        assert!(kept.iter().filter(|sample| (100..200).contains(&sample.content)).count() >= 2);
        let few = chosen(kept, 4);
        assert!((2..=4).contains(&few.len()) && few[0].content == 0);
    }

    #[test]
    fn one_colour_shows_in_the_sketch() {
        let white = RgbImage::from_pixel(64, 64, image::Rgb([250; 3]));
        assert_eq!(Sketch::of(&white).unwrap().ground(), 1.0);
        let half =
            RgbImage::from_fn(64, 64, |x, y| image::Rgb([if x < 32 { 250 } else { (x * 4 + y) as u8 }; 3]));
        assert!((0.4..0.7).contains(&Sketch::of(&half).unwrap().ground()));
    }

    #[test]
    fn what_does_not_change_is_not_kept_for_change() {
        let kept = sampled(16, (0..1000).map(|n| (n * 40, plain(90, 1))));
        assert!((4..=8).contains(&kept.len()), "{}", kept.len());
    }

    #[test]
    fn a_change_in_a_corner_shows_in_the_sketch() {
        let plain = RgbImage::from_pixel(640, 480, image::Rgb([120; 3]));
        let mut marked = plain.clone();
        for (x, y) in (0..80).flat_map(|x| (0..60).map(move |y| (x, y))) {
            marked.put_pixel(x, y, image::Rgb([255, 0, 0]));
        }
        let distance = Sketch::of(&plain).unwrap().distance(&Sketch::of(&marked).unwrap());
        assert!(distance > 4.0 * LEAST_CHANGE, "{distance}");
        assert_eq!(Sketch::of(&plain).unwrap().distance(&Sketch::of(&plain).unwrap()), 0.0);
    }
}
