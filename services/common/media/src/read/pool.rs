//! Decoding off the async workers, with bounds on threads and on memory.

use std::sync::Arc;

use bytes::Bytes;
use image::{RgbImage, RgbaImage};
use tokio::{sync::Semaphore, task::JoinError};

use super::{Frames, Header, PictureError, decode, decode_rgba, frames, frames::memory};

/// Pictures that need no more than this are decoded without asking for memory: 16 MiB, a picture of about one
/// megapixel.
const SMALL: u64 = 16 << 20;
/// Memory is shared out in these units, in bytes.
const UNIT: u64 = 1 << 20;

/// Where pictures are decoded.
#[derive(Clone, Debug)]
pub struct DecodePool {
    jobs: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    units: u32,
}

impl DecodePool {
    /// `jobs` pictures are decoded at once; those that are large share `memory_bytes`. A picture that needs more
    /// than all of it waits until it is alone.
    #[must_use]
    pub fn new(jobs: usize, memory_bytes: u64) -> Self {
        let units = u32::try_from(memory_bytes / UNIT).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        let memory = Semaphore::new(usize::try_from(units).unwrap_or(1));
        Self { jobs: Arc::new(Semaphore::new(jobs.max(1))), memory: Arc::new(memory), units }
    }

    /// Decodes a picture and reduces it to what `reduce` keeps; the decoded picture itself lives no longer than
    /// that. Transparency is laid on white.
    ///
    /// # Errors
    /// The bytes are no picture that may be decoded, `reduce` failed, or the thread it ran on panicked.
    pub async fn decode<T, E, F>(&self, data: Bytes, reduce: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PictureError> + From<JoinError> + Send + 'static,
        F: FnOnce(&RgbImage) -> Result<T, E> + Send + 'static,
    {
        let header = Header::read(&data)?;
        self.run(header.memory(), move || reduce(&decode(&data, &header)?)).await
    }

    /// The same with alpha kept.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub async fn decode_rgba<T, E, F>(&self, data: Bytes, reduce: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PictureError> + From<JoinError> + Send + 'static,
        F: FnOnce(&RgbaImage) -> Result<T, E> + Send + 'static,
    {
        let header = Header::read(&data)?;
        let memory = header.memory() + header.pixels();
        self.run(memory, move || reduce(&decode_rgba(&data, &header)?)).await
    }

    /// Decodes a picture frame by frame, as [`frames()`] does, for `reduce` to keep of it what it needs. A picture that
    /// doesn't move is a single frame. Once nobody waits for the outcome any more, no further frame is decoded.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); a frame that can't be decoded is an error to `reduce`, which passes it on.
    pub async fn frames<T, E, F>(&self, data: Bytes, reduce: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PictureError> + From<JoinError> + Send + 'static,
        F: FnOnce(Frames<'_>) -> Result<T, E> + Send + 'static,
    {
        let header = Header::read(&data)?;
        // Dropped with this future, and the job sees it.
        let waiting = Arc::new(());
        let watched = Arc::downgrade(&waiting);
        let memory = memory(&data, &header);
        self.run(memory, move || reduce(frames(&data, &header).while_waited_for(watched))).await
    }

    /// Runs a job that needs this much memory, in bytes, once there is room for it.
    async fn run<T, E>(
        &self,
        memory: u64,
        job: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<JoinError> + Send + 'static,
    {
        // The semaphores are never closed, so there always is a permit.
        let memory = match memory {
            0..=SMALL => None,
            large => {
                let units = u32::try_from(large.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
                Arc::clone(&self.memory).acquire_many_owned(units).await.ok()
            }
        };
        let place = Arc::clone(&self.jobs).acquire_owned().await.ok();
        let work = move || {
            let _permits = (memory, place);
            job()
        };
        tokio::task::spawn_blocking(work).await?
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use futures::future::join_all;
    use image::{DynamicImage, ImageFormat};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Refusal {
        #[error(transparent)]
        Picture(#[from] PictureError),
        #[error(transparent)]
        Job(#[from] JoinError),
    }

    fn png(width: u32, height: u32) -> Bytes {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner().into()
    }

    #[tokio::test]
    async fn large_pictures_share_the_memory_and_all_get_through() {
        let pool = DecodePool::new(2, 30 << 20);
        let (small, large) = (png(20, 10), png(1_500, 1_200));
        let side = |picture: &RgbImage| Ok::<_, Refusal>(picture.dimensions());
        let all = (0..12).map(|n| pool.decode(if n % 2 == 0 { small.clone() } else { large.clone() }, side));
        let sizes = join_all(all).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(sizes[..2], [(20, 10), (1_500, 1_200)]);
        assert_eq!((pool.jobs.available_permits(), pool.memory.available_permits()), (2, 30));
    }

    #[tokio::test]
    async fn alpha_is_kept_where_asked_for() {
        let pool = DecodePool::new(1, 1 << 20);
        let first = |picture: &RgbaImage| Ok::<_, Refusal>(picture.get_pixel(0, 0).0);
        assert_eq!(pool.decode_rgba(png(3, 2), first).await.unwrap(), [0, 0, 0, 255]);
    }

    #[tokio::test]
    async fn a_refused_picture_gives_its_place_back() {
        let pool = DecodePool::new(1, 1 << 20);
        for _ in 0..3 {
            let refused = pool.decode(Bytes::from_static(b"no picture"), |_| Ok::<_, Refusal>(())).await;
            assert!(matches!(refused, Err(Refusal::Picture(PictureError::UnknownFormat))));
        }
    }
}
