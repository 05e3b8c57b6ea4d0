//! Disguised words undone.
//!
//! Who wants a word past moderation writes it so that people still read it and programs do not: with letters of other
//! alphabets, digits for letters, characters nobody sees, separators, homophones, encodings. This crate makes *views* of a
//! text in which such words stand plainly. A [`View`] knows for each of its bytes which bytes of the original it came from,
//! so that what is found in it can be pointed at in the original.
//!
//! - [`readable`]: what a reader sees, for models. Ordinary text stays as it is, but for Unicode's form KC.
//! - [`undisguised`]: what a text with disguised words says, for models; none of an ordinary text.
//! - [`skeleton`]: what is left of a word when spelling is taken away, for lists of terms. The terms of such a list must go
//!   through it themselves.
//! - [`pinyin`] and [`Sound`]: Chinese by its sound, for lists of terms in pinyin.
//! - [`decoded`]: texts hidden in encodings.
//!
//! ```
//! use atelier_normalise::{DecodeLimits, decoded, pinyin, readable, skeleton};
//!
//! assert_eq!(readable("𝓯\u{200b}uсk").text(), "fuck"); // a script f, a space of no width, a Cyrillic с
//! assert_eq!(skeleton("F_u_(_K this $h!t").text(), "fuck this shit");
//! assert_eq!(pinyin("傻比").text(), "shabi");
//! let hidden = decoded("go ZnVjayB5b3U= now", &DecodeLimits::default())?;
//! assert_eq!(hidden[0].text, "fuck you");
//!
//! let view = skeleton("so: s.h.i.t!");
//! let at = view.text().find("shit").map(|at| view.original(at..at + 4));
//! assert_eq!(at, Some(4..11));
//! # Ok::<(), atelier_normalise::TooMuchHidden>(())
//! ```
//!
//! All of it takes time in proportion to the text. Views never fail: a text that holds no disguise is its own view. They may be
//! longer than the text, by form KC up to eleven times.

mod compose;
mod confusable;
mod decode;
mod disguise;
mod fold;
mod han;
mod invisible;
mod leet;
mod letters;
mod sound;
mod spaced;
mod steps;
mod styled;
mod table;
mod view;
mod views;

pub use self::{
    decode::{DecodeLimits, Decoded, Encoding, TooMuchHidden, decoded},
    disguise::undisguised,
    sound::Sound,
    view::View,
    views::{Squeezed, pinyin, readable, skeleton, skeletons},
};
