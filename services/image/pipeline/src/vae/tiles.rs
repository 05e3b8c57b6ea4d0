//! Large planes piece by piece: tiles that overlap by a quarter, faded into each other.

/// Share of a tile that overlaps with the next one, as in the reference.
const OVERLAP: f64 = 0.25;

/// Planes: channels, height, width, and their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Planes {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) values: Vec<f32>,
}

impl Planes {
    pub(crate) fn zeros(channels: usize, (height, width): (usize, usize)) -> Self {
        Self { channels, height, width, values: vec![0.0; channels * height * width] }
    }

    fn at(&self, channel: usize, y: usize, x: usize) -> usize {
        (channel * self.height + y) * self.width + x
    }

    /// A part, as far as it lies within.
    fn part(&self, (top, left): (usize, usize), size: usize) -> Self {
        let (height, width) = (size.min(self.height - top), size.min(self.width - left));
        let mut part = Self::zeros(self.channels, (height, width));
        for channel in 0..self.channels {
            for y in 0..height {
                let from = self.at(channel, top + y, left);
                let to = part.at(channel, y, 0);
                part.values[to..to + width].copy_from_slice(&self.values[from..from + width]);
            }
        }
        part
    }

    /// Fades from the lower end of the tile above into this one's upper end.
    fn fade_down(&mut self, above: &Self, extent: usize) {
        let extent = extent.min(above.height).min(self.height);
        for channel in 0..self.channels {
            for y in 0..extent {
                let share = y as f32 / extent as f32;
                for x in 0..self.width.min(above.width) {
                    let before = above.values[above.at(channel, above.height - extent + y, x)];
                    let at = self.at(channel, y, x);
                    self.values[at] = before * (1.0 - share) + self.values[at] * share;
                }
            }
        }
    }

    /// Fades from the right end of the tile before into this one's left end.
    fn fade_right(&mut self, before: &Self, extent: usize) {
        let extent = extent.min(before.width).min(self.width);
        for channel in 0..self.channels {
            for y in 0..self.height.min(before.height) {
                for x in 0..extent {
                    let share = x as f32 / extent as f32;
                    let left = before.values[before.at(channel, y, before.width - extent + x)];
                    let at = self.at(channel, y, x);
                    self.values[at] = left * (1.0 - share) + self.values[at] * share;
                }
            }
        }
    }

    /// Puts a tile's upper left part in its place.
    fn put(&mut self, tile: &Self, (top, left): (usize, usize), size: usize) {
        if top >= self.height || left >= self.width {
            return;
        }
        let height = size.min(tile.height).min(self.height - top);
        let width = size.min(tile.width).min(self.width - left);
        for channel in 0..self.channels {
            for y in 0..height {
                let (from, to) = (tile.at(channel, y, 0), self.at(channel, top + y, left));
                self.values[to..to + width].copy_from_slice(&tile.values[from..from + width]);
            }
        }
    }
}

/// How planes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    /// Side of a tile that is read.
    pub(crate) read: usize,
    /// Side of a tile that is made of it.
    pub(crate) made: usize,
}

impl Tiling {
    /// Runs a model over all tiles of `input`; `size`: height and width of what comes out.
    pub(crate) fn run<E>(
        self,
        input: &Planes,
        channels: usize,
        size: (usize, usize),
        mut model: impl FnMut(&Planes) -> Result<Planes, E>,
    ) -> Result<Planes, E> {
        let stride = ((self.read as f64 * (1.0 - OVERLAP)) as usize).max(1);
        let extent = (self.made as f64 * OVERLAP) as usize;
        let kept = self.made - extent;
        let mut whole = Planes::zeros(channels, size);
        let mut above: Vec<Planes> = Vec::new();
        for (row, top) in (0..input.height).step_by(stride).enumerate() {
            let mut tiles: Vec<Planes> = Vec::new();
            for (column, left) in (0..input.width).step_by(stride).enumerate() {
                let mut tile = model(&input.part((top, left), self.read))?;
                if let Some(above) = above.get(column) {
                    tile.fade_down(above, extent);
                }
                if let Some(before) = tiles.last() {
                    tile.fade_right(before, extent);
                }
                whole.put(&tile, (row * kept, column * kept), kept);
                tiles.push(tile);
            }
            above = tiles;
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Twice as large, each number four times.
    fn double(planes: &Planes) -> Result<Planes, Infallible> {
        let mut made = Planes::zeros(planes.channels, (planes.height * 2, planes.width * 2));
        for channel in 0..made.channels {
            for y in 0..made.height {
                for x in 0..made.width {
                    let at = made.at(channel, y, x);
                    made.values[at] = planes.values[planes.at(channel, y / 2, x / 2)];
                }
            }
        }
        Ok(made)
    }

    proptest! {
        /// A model that looks at nothing but its own place makes the same of tiles as of the whole.
        #[test]
        fn tiles_make_the_whole(height in 1_usize..40, width in 1_usize..40, tile in 1_usize..5) {
            let mut input = Planes::zeros(2, (height, width));
            input.values.iter_mut().enumerate().for_each(|(n, value)| *value = n as f32);
            let tiling = Tiling { read: tile * 4, made: tile * 8 };
            let Ok(whole) = double(&input);
            let Ok(tiled) = tiling.run(&input, 2, (height * 2, width * 2), double);
            for (tiled, whole) in tiled.values.iter().zip(&whole.values) {
                prop_assert!((tiled - whole).abs() <= 1e-6 * whole.abs(), "{tiled} {whole}");
            }
        }
    }
}
