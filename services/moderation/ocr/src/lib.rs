//! Text and QR codes in pictures: everything around the PP-OCR models but their runs.
//!
//! A picture becomes a [`Page`]. The detector reads [`Page::for_detector`] and answers with a [`ProbabilityMap`], in
//! which [`text_boxes`] finds lines. Each [`LineImage`] goes through the recogniser, whose answer a [`Charset`] turns into
//! text. [`PictureText`] joins the lines. [`qr_codes`] needs no model.
//!
//! Read: printed text in any of the recogniser's languages, level or tilted by less than half a right angle; lines that
//! run downwards, as if turned to the left. Not read: text upside down, handwriting but the clearest, and what is
//! smaller than about 8 pixels in what the detector reads.
//!
//! # Speed
//!
//! Whole pictures, models included, on one thread of a busy server (`cargo run -p atelier-moderation --example ocr`): 10 ms
//! for 128 x 128 pixels without text, 0.5 s for 1024 x 768 without, 1.0 s with three lines, 12 s for a screen of 1920 x
//! 1080 full of thirty lines. Looking for lines takes 0.4 s a megapixel, reading 0.1 s for 1,000 columns of 48 rows. The
//! steps in this crate are a few hundredths of that (`cargo run -p atelier-ocr --example speed`): 21 ms for QR codes, 3 ms
//! for boxes and 3 ms for each line of 1024 x 768.

mod boxes;
mod charset;
mod error;
mod line;
mod map;
mod page;
mod qr;
mod rectangle;
mod region;
mod text;

pub use self::{
    boxes::{Boxes, Limits, TextBox, text_boxes},
    charset::{Charset, Reading},
    error::OcrError,
    line::{LINE_HEIGHT, LineImage, MAX_LINE_WIDTH},
    map::ProbabilityMap,
    page::{MAX_PAGE_SIDE, Page},
    qr::{MAX_QR_CODES, QrCode, qr_codes},
    region::{Point, Quad, Region},
    text::{Line, PictureText},
};
