//! Files that commands write: their names, and all of a file or none.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use atelier_client::proto::image::v1::{ImageFormat, VideoFormat};

use super::CliError;

/// A file that is being written; without [`Part::finish`] nothing of it stays.
pub(crate) struct Part {
    path: PathBuf,
    part: PathBuf,
    file: File,
    finished: bool,
}

impl Part {
    pub(crate) fn create(path: &Path) -> Result<Self, CliError> {
        let mut name = OsString::from(path);
        name.push(".part");
        let part = PathBuf::from(name);
        let file = File::create(&part).map_err(|cause| unwritable(path, &cause))?;
        Ok(Self { path: path.to_owned(), part, file, finished: false })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|cause| unwritable(&self.path, &cause))
    }

    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        fs::rename(&self.part, &self.path).map_err(|cause| unwritable(&self.path, &cause))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            // The failure that led here is the one to tell of.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Writes a file whole.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut part = Part::create(path)?;
    part.write(bytes)?;
    part.finish()
}

/// Makes a folder, where there is none.
pub(crate) fn folder(path: &Path) -> Result<(), CliError> {
    fs::create_dir_all(path).map_err(|cause| unwritable(path, &cause))
}

/// The name of the n-th of several files, from 1: `apple.png` is `apple-1.png`.
pub(crate) fn numbered(path: &Path, n: usize, of: usize) -> PathBuf {
    if of < 2 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{n}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The format that a picture's file name asks for.
pub(crate) fn image_format(path: &Path) -> Result<ImageFormat, CliError> {
    match extension(path).as_str() {
        "png" => Ok(ImageFormat::Png),
        "webp" => Ok(ImageFormat::Webp),
        "jpg" | "jpeg" => Ok(ImageFormat::Jpeg),
        "avif" => Ok(ImageFormat::Avif),
        _ => Err(unknown(path, ".png, .webp, .jpg or .avif")),
    }
}

/// The format that a clip's file name asks for.
pub(crate) fn video_format(path: &Path) -> Result<VideoFormat, CliError> {
    match extension(path).as_str() {
        "webp" => Ok(VideoFormat::Webp),
        "gif" => Ok(VideoFormat::Gif),
        "mp4" => Ok(VideoFormat::Mp4),
        "webm" => Ok(VideoFormat::Webm),
        _ => Err(unknown(path, ".webp, .gif, .mp4 or .webm")),
    }
}

/// The extension of a picture.
pub(crate) fn extension_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Unspecified | ImageFormat::Png => "png",
        ImageFormat::Webp => "webp",
        ImageFormat::Jpeg => "jpg",
        ImageFormat::Avif => "avif",
    }
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

fn unknown(path: &Path, known: &str) -> CliError {
    CliError::Usage(format!("{}: the name must end in {known}", path.display()))
}

fn unwritable(path: &Path, cause: &io::Error) -> CliError {
    CliError::Usage(format!("{}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_formats() {
        assert_eq!(image_format(Path::new("a.b.JPEG")).expect("known"), ImageFormat::Jpeg);
        assert_eq!(video_format(Path::new("x/y.webm")).expect("known"), VideoFormat::Webm);
        for path in ["apple", "apple.", "apple.tiff", ".png"] {
            assert!(image_format(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn several_files_are_numbered() {
        assert_eq!(numbered(Path::new("a/apple.x.png"), 2, 3), Path::new("a/apple.x-2.png"));
        assert_eq!(numbered(Path::new("apple.png"), 1, 1), Path::new("apple.png"));
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clip.webp");
        let mut part = Part::create(&path).expect("writable");
        part.write(b"half").expect("writable");
        drop(part);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
        write(&path, b"whole").expect("writable");
        assert_eq!(fs::read(&path).expect("there"), b"whole");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }
}
