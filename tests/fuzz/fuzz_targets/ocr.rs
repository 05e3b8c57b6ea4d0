//! Whatever a detector of lines answers, there are boxes within the page and lines of a bounded size; whatever a
//! recogniser answers, there is text.

#![no_main]

use atelier_ocr::{Boxes, Charset, Limits, LineImage, MAX_LINE_WIDTH, Page, ProbabilityMap, text_boxes};
use image::RgbImage;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { lines: 20, columns: 10_000 };

fuzz_target!(|data: &[u8]| {
    let [width, height, page_width, page_height, values @ ..] = data else { return };
    let picture = RgbImage::from_fn(u32::from(*page_width) + 1, u32::from(*page_height) + 1, |x, y| {
        let at = (y as usize * 64 + x as usize) % values.len().max(1);
        image::Rgb([values.get(at).copied().unwrap_or(0); 3])
    });
    let page = Page::new(&picture).expect("a picture with pixels");
    let sides = page.pixels().dimensions();

    // Four bytes are any value of a probability; one byte an ordinary one.
    let any = values.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let ordinary = values.iter().map(|byte| f32::from(*byte) / 255.0);
    let (width, height) = (usize::from(*width), usize::from(*height));
    for all in [any.collect::<Vec<_>>(), ordinary.collect()] {
        let mut map = all.clone();
        map.resize(width * height, 0.0);
        let map = ProbabilityMap::new(width, height, map).expect("as many values as the size asks for");
        let Boxes { boxes, .. } = text_boxes(&map, &page, LIMITS);
        assert!(boxes.len() <= LIMITS.lines && boxes.is_sorted_by_key(|one| one.row));
        let columns: usize = boxes.iter().map(|one| LineImage::filled_width_of(&one.quad)).sum();
        assert!(columns <= LIMITS.columns);
        for one in boxes {
            assert!((0.0..=1.0).contains(&one.score) || all.iter().any(|value| !(0.0..=1.0).contains(value)));
            for [x, y] in one.quad {
                assert!(x >= 0.0 && y >= 0.0 && x < sides.0 as f32 && y < sides.1 as f32);
            }
            let region = page.region(&one.quad);
            assert!(
                region.left + region.width <= picture.width()
                    && region.top + region.height <= picture.height()
            );
            let line = LineImage::cut(page.pixels(), &one.quad);
            assert!((64..=MAX_LINE_WIDTH).contains(&line.filled_width()));
        }

        let charset = Charset::parse("a\nb\n字").expect("three characters");
        let whole = all.len() / charset.columns() * charset.columns();
        let reading = charset.read(&all[..whole]).expect("whole steps");
        assert!(reading.confidences.len() == reading.text.chars().count() && reading.confidence() <= 1.0);
    }
});
