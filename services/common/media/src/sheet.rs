//! Several pictures on one sheet.

use image::{ImageBuffer, Pixel, imageops};

use crate::error::{MediaError, check_size};

/// Lays pictures of one size side by side, row by row, without gaps; `columns` in each row, or all of them where
/// they are fewer. Places that stay empty are black, and transparent where there is alpha.
///
/// # Errors
/// There are no pictures or no columns, the pictures differ in size, or the sheet has more pixels than a picture may
/// have.
pub fn sheet<P>(
    pictures: &[ImageBuffer<P, Vec<u8>>],
    columns: u32,
) -> Result<ImageBuffer<P, Vec<u8>>, MediaError>
where
    P: Pixel<Subpixel = u8>,
{
    let first = pictures.first().ok_or(MediaError::Nothing("sheet"))?;
    let (width, height) = first.dimensions();
    let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX);
    let columns = columns.min(count);
    if columns == 0 {
        return Err(MediaError::Nothing("sheet"));
    }
    let size = (width.saturating_mul(columns), height.saturating_mul(count.div_ceil(columns)));
    check_size("sheet", size, (1, u32::MAX))?;
    let mut sheet = ImageBuffer::new(size.0, size.1);
    for (place, picture) in (0..count).zip(pictures) {
        if picture.dimensions() != (width, height) {
            return Err(MediaError::Unequal {
                expected_width: width,
                expected_height: height,
                width: picture.width(),
                height: picture.height(),
            });
        }
        let (x, y) = (place % columns * width, place / columns * height);
        imageops::replace(&mut sheet, picture, i64::from(x), i64::from(y));
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    #[test]
    fn pictures_lie_row_by_row() {
        let pictures: Vec<_> = (0..5).map(|n| RgbaImage::from_pixel(3, 2, Rgba([n, 0, 0, 255]))).collect();
        let laid = sheet(&pictures, 3).unwrap();
        assert_eq!(laid.dimensions(), (9, 4));
        for (x, y, pixel) in laid.enumerate_pixels() {
            let place = (x / 3 + y / 2 * 3) as u8;
            assert_eq!(pixel.0, if place < 5 { [place, 0, 0, 255] } else { [0; 4] }, "({x}, {y})");
        }
        assert_eq!(sheet(&pictures, 100).unwrap().dimensions(), (15, 2));
        assert_eq!(sheet(&pictures, 1).unwrap().dimensions(), (3, 10));
    }

    #[test]
    fn what_fits_no_sheet_is_refused() {
        let picture = |width, height| RgbImage::from_pixel(width, height, Rgb([1, 2, 3]));
        assert!(matches!(sheet::<Rgb<u8>>(&[], 3), Err(MediaError::Nothing(_))));
        assert!(matches!(sheet(&[picture(2, 2)], 0), Err(MediaError::Nothing(_))));
        let unequal = sheet(&[picture(2, 2), picture(2, 3)], 2);
        assert!(matches!(unequal, Err(MediaError::Unequal { width: 2, height: 3, .. })));
        assert!(matches!(sheet(&vec![picture(1_100, 1_000); 64], 8), Err(MediaError::Size { .. })));
        assert!(matches!(sheet(&[picture(0, 0)], 1), Err(MediaError::Size { .. })));
    }
}
