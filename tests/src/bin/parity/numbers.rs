//! Arrays of a reference archive, and pictures among them.

use std::{cell::RefCell, fs::File, path::Path};

use anyhow::Context as _;
use image::{GrayImage, RgbaImage};
use ndarray::{ArrayD, Axis};
use ndarray_npy::NpzReader;

/// An archive of arrays.
pub(crate) struct Numbers {
    archive: RefCell<NpzReader<File>>,
    names: Vec<String>,
}

impl Numbers {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let mut archive = NpzReader::new(file).with_context(|| path.display().to_string())?;
        let mut names = archive.names()?;
        names.iter_mut().for_each(|name| *name = name.trim_end_matches(".npy").to_owned());
        names.sort();
        Ok(Self { archive: RefCell::new(archive), names })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// An array of any type of numbers; bytes are divided by 255.
    pub(crate) fn array(&self, name: &str) -> anyhow::Result<ArrayD<f32>> {
        let mut archive = self.archive.borrow_mut();
        if let Ok(array) = archive.by_name::<ndarray::OwnedRepr<f32>, _>(name) {
            return Ok(array);
        }
        if let Ok(array) = archive.by_name::<ndarray::OwnedRepr<f64>, ndarray::IxDyn>(name) {
            return Ok(array.mapv(|value| value as f32));
        }
        let bytes: ArrayD<u8> = archive.by_name(name).with_context(|| name.to_owned())?;
        Ok(bytes.mapv(|value| f32::from(value) / 255.0))
    }

    /// Whole numbers, such as tokens.
    pub(crate) fn whole(&self, name: &str) -> anyhow::Result<Vec<i64>> {
        let mut archive = self.archive.borrow_mut();
        if let Ok(array) = archive.by_name::<ndarray::OwnedRepr<i32>, ndarray::IxDyn>(name) {
            return Ok(array.into_iter().map(i64::from).collect());
        }
        let array: ArrayD<i64> = archive.by_name(name).with_context(|| name.to_owned())?;
        Ok(array.into_iter().collect())
    }

    /// A text's bytes.
    pub(crate) fn text(&self, name: &str) -> anyhow::Result<String> {
        let array: ArrayD<u8> = self.archive.borrow_mut().by_name(name).with_context(|| name.to_owned())?;
        Ok(String::from_utf8(array.into_iter().collect())?)
    }
}

/// A picture as planes from 0 to 1.
pub(crate) struct Pictures {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) planes: Vec<f32>,
}

impl Pictures {
    /// Reads an array with the channels first, last, or not at all, from 0 to 1 or from -1 to 1.
    pub(crate) fn of(array: &ArrayD<f32>) -> Option<Self> {
        let mut array = array.clone();
        while array.ndim() > 3 && array.shape()[0] == 1 {
            array = array.index_axis_move(Axis(0), 0);
        }
        // Several pictures of a set lie below each other.
        if array.ndim() > 3 {
            return None;
        }
        if array.ndim() == 2 {
            array = array.insert_axis(Axis(0));
        }
        let is_channels = |count: usize| matches!(count, 1 | 3 | 4);
        let planes = match *array.shape() {
            [channels, ..] if is_channels(channels) => array,
            [.., channels] if is_channels(channels) => array.permuted_axes(vec![2, 0, 1]),
            _ => return None,
        };
        let [channels, height, width] = *planes.shape() else { return None };
        let mut planes: Vec<f32> = planes.iter().copied().collect();
        if planes.iter().any(|value| *value < -0.01) {
            planes.iter_mut().for_each(|value| *value = *value / 2.0 + 0.5);
        }
        Some(Self { channels, height, width, planes })
    }

    /// Planes from -1 to 1.
    pub(crate) fn signed(&self) -> Vec<f32> {
        self.planes.iter().map(|value| value * 2.0 - 1.0).collect()
    }

    fn byte(&self, channel: usize, x: u32, y: u32) -> u8 {
        let at = (channel.min(self.channels - 1) * self.height + y as usize) * self.width + x as usize;
        (self.planes[at] * 255.0).round_ties_even() as u8
    }

    pub(crate) fn rgba(&self) -> RgbaImage {
        RgbaImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let alpha = if self.channels > 3 { self.byte(3, x, y) } else { u8::MAX };
            image::Rgba([self.byte(0, x, y), self.byte(1, x, y), self.byte(2, x, y), alpha])
        })
    }

    pub(crate) fn gray(&self) -> GrayImage {
        GrayImage::from_fn(self.width as u32, self.height as u32, |x, y| image::Luma([self.byte(0, x, y)]))
    }
}
