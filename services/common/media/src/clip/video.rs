//! AV1 in a container.

use std::fmt;

use atelier_av1::{Av1Encoder, Layout, Unit};
use image::RgbImage;

use super::{ClipConfig, mp4::Mp4, webm::WebM};
use crate::{error::MediaError, planes::Planes};

pub(super) struct Writer {
    name: &'static str,
    encoder: Av1Encoder,
    /// Known once the first unit is there.
    configuration: Option<Vec<u8>>,
    container: Container,
}

#[derive(Debug)]
enum Container {
    Mp4(Mp4),
    WebM(WebM),
}

impl Writer {
    pub(super) fn mp4(config: ClipConfig) -> Result<Self, MediaError> {
        Self::new(config, Container::Mp4(Mp4::new(config)))
    }

    pub(super) fn webm(config: ClipConfig) -> Result<Self, MediaError> {
        Self::new(config, Container::WebM(WebM::new(config)))
    }

    fn new(config: ClipConfig, container: Container) -> Result<Self, MediaError> {
        let name = config.format.name();
        let layout = Layout::Video { frames_per_second: config.frames_per_second };
        let encoder = Av1Encoder::new((config.width, config.height), layout, config.quality)
            .map_err(|error| MediaError::encoder(name, error))?;
        Ok(Self { name, encoder, configuration: None, container })
    }

    pub(super) fn push(&mut self, frame: &RgbImage) -> Result<(), MediaError> {
        let planes = Planes::video(frame);
        let units =
            self.encoder.push(&planes.views()).map_err(|error| MediaError::encoder(self.name, error))?;
        self.store(&units);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>, MediaError> {
        let units = self.encoder.finish().map_err(|error| MediaError::encoder(self.name, error))?;
        self.store(&units);
        let configuration = self
            .configuration
            .ok_or_else(|| MediaError::encoder(self.name, "the stream has no sequence header"))?;
        match self.container {
            Container::Mp4(mp4) => mp4.finish(&configuration),
            Container::WebM(webm) => Ok(webm.finish(&configuration)),
        }
    }

    fn store(&mut self, units: &[Unit]) {
        for unit in units {
            if self.configuration.is_none() {
                self.configuration = self.encoder.configuration(unit);
            }
            match &mut self.container {
                Container::Mp4(mp4) => mp4.push(&unit.data, unit.is_key),
                Container::WebM(webm) => webm.push(&unit.data, unit.is_key),
            }
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("container", &self.container).finish_non_exhaustive()
    }
}
