//! How far edits move a picture, and which are too much. `cargo test -p atelier-likeness --test robustness -- --nocapture`
//! prints the table.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, their helpers too")]

use std::{io::Cursor, path::Path};

use atelier_likeness::{
    Capacity, ImageFingerprint, ImageLimits, ImageQuery, Index, Picture, View, Work, WorkId,
};
use image::{ImageFormat, Rgb, RgbImage, codecs::jpeg::JpegEncoder, imageops};

/// Two photographs and, of each, four quarters: ten pictures with contents of their own.
fn pictures() -> Vec<RgbImage> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/image/pictures");
    let mut pictures = Vec::new();
    for name in ["cat.png", "coffee.png"] {
        let whole = image::open(root.join(name)).unwrap().to_rgb8();
        let (width, height) = (whole.width() / 2, whole.height() / 2);
        for (x, y) in [(0, 0), (width, 0), (0, height), (width, height)] {
            pictures.push(imageops::crop_imm(&whole, x, y, width, height).to_image());
        }
        pictures.push(whole);
    }
    pictures
}

fn scaled(picture: &RgbImage, factor: f64) -> RgbImage {
    let side = |length: u32| (f64::from(length) * factor).round() as u32;
    imageops::resize(picture, side(picture.width()), side(picture.height()), imageops::FilterType::CatmullRom)
}

fn jpeg(picture: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality)).unwrap();
    image::load(Cursor::new(bytes), ImageFormat::Jpeg).unwrap().to_rgb8()
}

fn brighter(picture: &RgbImage, factor: f32) -> RgbImage {
    let mut picture = picture.clone();
    picture.iter_mut().for_each(|value| *value = (f32::from(*value) * factor).min(255.0) as u8);
    picture
}

fn cropped(picture: &RgbImage, margin: f64) -> RgbImage {
    let (x, y) = (f64::from(picture.width()) * margin, f64::from(picture.height()) * margin);
    let (x, y) = (x.round() as u32, y.round() as u32);
    imageops::crop_imm(picture, x, y, picture.width() - 2 * x, picture.height() - 2 * y).to_image()
}

fn framed(picture: &RgbImage, margin: f64) -> RgbImage {
    let frame = |length: u32| (f64::from(length) * margin / (1.0 - 2.0 * margin)).round() as u32;
    let (x, y) = (frame(picture.width()), frame(picture.height()));
    let mut framed = RgbImage::from_pixel(picture.width() + 2 * x, picture.height() + 2 * y, Rgb([255; 3]));
    imageops::overlay(&mut framed, picture, i64::from(x), i64::from(y));
    framed
}

/// White bars such as letters make, in the lower right corner.
fn marked(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let (x_share, y_share) = (100 * x / width, 100 * y / height);
        let bar = (55..92).contains(&x_share) && (85..93).contains(&y_share) && (x_share - 55) % 8 < 5;
        if bar { Rgb([255; 3]) } else { *picture.get_pixel(x, y) }
    })
}

/// Turned about the middle, by the nearest pixel; what comes in from outside is grey.
fn turned(picture: &RgbImage, degrees: f32) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (middle_x, middle_y) = (picture.width() as f32 / 2.0, picture.height() as f32 / 2.0);
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let (dx, dy) = (x as f32 - middle_x, y as f32 - middle_y);
        let (from_x, from_y) = (middle_x + cos * dx - sin * dy, middle_y + sin * dx + cos * dy);
        let inside = from_x >= 0.0 && from_y >= 0.0;
        let pixel = inside.then(|| picture.get_pixel_checked(from_x as u32, from_y as u32)).flatten();
        pixel.copied().unwrap_or(Rgb([128; 3]))
    })
}

/// Distance of each picture to its edited self: fingerprint to fingerprint, then the nearest of the query's views.
fn distances(edit: impl Fn(&RgbImage) -> RgbImage) -> (Vec<u32>, Vec<u32>) {
    let limits = ImageLimits { max_distance: ImageFingerprint::BITS, ..ImageLimits::default() };
    let (mut plain, mut searched) = (Vec::new(), Vec::new());
    for picture in pictures() {
        let (fingerprint, edited) = (ImageFingerprint::of(&picture).unwrap(), edit(&picture));
        plain.push(ImageFingerprint::of(&edited).unwrap().distance(&fingerprint).unwrap());
        let mut index = Index::new(Capacity::default());
        let pictures = vec![Picture { fingerprint, vector: None }];
        index.add(WorkId(0), Work { pictures, ..Work::default() }).unwrap();
        let found = index.find_image(&ImageQuery::of(&edited).unwrap(), None, &limits).unwrap();
        searched.push(found[0].distance.unwrap());
    }
    plain.sort_unstable();
    searched.sort_unstable();
    (plain, searched)
}

#[test]
fn small_edits_stay_near_and_large_ones_do_not() {
    type Edit = fn(&RgbImage) -> RgbImage;
    let limit = ImageLimits::default().max_distance;
    // The farthest of the ten is to be found, or the nearest is not to be.
    let table: [(&str, Edit, bool); 19] = [
        ("scaled to 0.5", |p| scaled(p, 0.5), true),
        ("scaled to 0.75", |p| scaled(p, 0.75), true),
        ("scaled to 2", |p| scaled(p, 2.0), true),
        ("JPEG 90", |p| jpeg(p, 90), true),
        ("JPEG 50", |p| jpeg(p, 50), true),
        ("scaled to 0.5, JPEG 50", |p| jpeg(&scaled(p, 0.5), 50), true),
        ("brightness x 0.8", |p| brighter(p, 0.8), true),
        ("brightness x 1.2", |p| brighter(p, 1.2), true),
        ("1% off each side", |p| cropped(p, 0.01), true),
        ("overlay in a corner", marked, true),
        ("turned by 1 degree", |p| turned(p, 1.0), true),
        ("mirrored", imageops::flip_horizontal, true),
        ("frame of 5%", |p| framed(p, 0.05), true),
        ("frame of 10%", |p| framed(p, 0.1), true),
        ("mirrored, frame of 10%, JPEG 50", |p| jpeg(&framed(&imageops::flip_horizontal(p), 0.1), 50), true),
        ("10% off each side", |p| cropped(p, 0.1), false),
        ("turned by 10 degrees", |p| turned(p, 10.0), false),
        ("turned by 90 degrees", imageops::rotate90, false),
        ("upside down", imageops::flip_vertical, false),
    ];
    for (name, edit, found) in table {
        let (plain, searched) = distances(edit);
        let (nearest, middle, farthest) =
            (searched[0], searched[searched.len() / 2], searched[searched.len() - 1]);
        println!(
            "{name:32} plain {:3}..{:3}  searched {nearest:3} {middle:3} {farthest:3}",
            plain[0], plain[9]
        );
        assert!(if found { farthest <= limit } else { nearest > limit }, "{name}: {searched:?}");
    }
}

#[test]
fn other_pictures_are_far() {
    let queries: Vec<_> = pictures().iter().map(|picture| ImageQuery::of(picture).unwrap()).collect();
    let limits = ImageLimits { max_distance: ImageFingerprint::BITS, ..ImageLimits::default() };
    let mut nearest = ImageFingerprint::BITS;
    for (n, picture) in pictures().iter().enumerate() {
        let mut index = Index::new(Capacity::default());
        let pictures = vec![Picture { fingerprint: ImageFingerprint::of(picture).unwrap(), vector: None }];
        index.add(WorkId(0), Work { pictures, ..Work::default() }).unwrap();
        for query in queries.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, query)| query) {
            nearest = nearest.min(index.find_image(query, None, &limits).unwrap()[0].distance.unwrap());
        }
    }
    println!("nearest of other pictures, all views: {nearest}");
    assert!(nearest > 120, "{nearest}");
}

#[test]
fn crops_of_a_work_find_what_was_cut_from_it() {
    let pictures = pictures();
    let mut index = Index::new(Capacity::default());
    for (n, picture) in pictures.iter().enumerate() {
        let views = [0, 5, 10, 15].map(|margin| View { margin, mirrored: false });
        let pictures = views.map(|view| Picture {
            fingerprint: ImageFingerprint::of_view(picture, view).unwrap(),
            vector: None,
        });
        index.add(WorkId(n as u64), Work { pictures: pictures.into(), ..Work::default() }).unwrap();
    }
    for (n, picture) in pictures.iter().enumerate() {
        let query = ImageQuery::of(&jpeg(&cropped(picture, 0.1), 70)).unwrap();
        let found = index.find_image(&query, None, &ImageLimits::default()).unwrap();
        assert_eq!(found.first().map(|found| found.work), Some(WorkId(n as u64)));
    }
}
