//! What holds of the views of any text.

use std::ops::Range;

use atelier_normalise::{Squeezed, View, pinyin, readable, skeleton, skeletons};
use proptest::prelude::*;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

const VIEWS: [fn(&str) -> View; 3] = [readable, skeleton, pinyin];

/// Pieces that the steps act on, and any other characters.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-zA-Z0-9 .,_@$!|()*-]{1,4}",
        1 => "[а-яіѕԍА-Я]{1,3}",
        1 => "[α-ωΑ-Ω]{1,3}",
        1 => "[\u{300}-\u{345}\u{334}-\u{338}\u{20dd}\u{20e3}]{1,5}",
        1 => "[\u{200b}-\u{200f}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{fe0f}\u{ad}\u{3164}\u{e0061}\r\n\t]{1,3}",
        1 => "[\u{1f130}-\u{1f1ff}\u{2460}-\u{24ff}\u{1f3f4}❤👍]{1,4}",
        1 => "[ᴀʙᴄᴅᴇɢɪɐɔǝɟʞʎɹʇbdnupqos ]{1,5}",
        1 => "[傻逼習氵亻去尔刂禾法輪＊ｆｕ]{1,4}",
        1 => "[aA傻輪ｆ]{1}a{1,4}|輪{2,4}",
        1 => "[\u{1100}-\u{11ff}가-힣ｱ-ﾟ]{1,4}",
        1 => "[ا-يکگ\u{200c}कखग्\u{200d}Ꭰ-Ꭿա-և]{1,4}",
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn reading_twice_reads_the_same(text in text()) {
        let once = readable(&text);
        let twice = readable(once.text());
        prop_assert_eq!(twice.text(), once.text());
    }

    #[test]
    fn all_bytes_lead_back_in_order(text in text()) {
        for view in VIEWS.map(|view| view(&text)) {
            let mut last = 0..0;
            for (at, c) in view.text().char_indices() {
                let source = view.original(at..at + c.len_utf8());
                prop_assert!(text.get(source.clone()).is_some_and(|source| !source.is_empty()));
                prop_assert!(last.start <= source.start && last.end <= source.end);
                prop_assert!(source.start >= last.end || source == last || !view.is_boundary(at));
                last = source;
            }
        }
    }

    #[test]
    fn ranges_of_any_kind_are_clamped(text in text(), start in any::<usize>(), end in 0_usize..99) {
        for view in VIEWS.map(|view| view(&text)) {
            for range in [start..end, end..start, end..usize::MAX, 0..end, start % 99..end] {
                let within = view.original(range.clone());
                prop_assert!(text.get(within.clone()).is_some(), "{:?} to {:?}", range, within);
            }
        }
    }

    #[test]
    fn only_what_is_taken_away_lies_outside(text in text()) {
        let view = readable(&text);
        let all = view.original(0..view.text().len());
        // What stands outside shows nothing by itself. It may do beside others: a mark on a letter.
        for outside in [&text[..all.start], &text[all.end..]] {
            let alone = readable(outside);
            let marks = |c: char| !c.is_alphanumeric() || is_combining_mark(c);
            prop_assert!(alone.text().chars().all(marks), "{:?}", outside);
        }
    }

    #[test]
    fn letters_stand_twice_in_one_skeleton_and_once_in_the_other(text in text()) {
        let (twice, once) = skeletons(&text);
        prop_assert_eq!(&twice, &skeleton(&text));
        let is_stretched = |text: &str| {
            let chars: Vec<char> = text.chars().collect();
            chars.windows(3).any(|three| three[0].is_alphabetic() && three.iter().all(|c| *c == three[0]))
        };
        prop_assert!(!is_stretched(twice.text()));
        if let Some(Squeezed { view: once, letters }) = once {
            // A character may stand for several letters, as a squared SS does.
            let stretched = |letter: &Range<usize>| text[once.original(letter.clone())].nfkc().count() > 2;
            prop_assert!(letters.iter().all(stretched) && letters.is_sorted_by_key(|letter| letter.start));
            prop_assert!(letters.iter().all(|letter| once.text()[letter.clone()].chars().count() == 1));
            prop_assert!(!is_stretched(once.text()) && once.text().len() < twice.text().len());
            prop_assert!(text.get(once.original(0..once.text().len())).is_some());
        }
    }

    #[test]
    fn nothing_panics(text in any::<String>()) {
        for view in VIEWS.map(|view| view(&text)) {
            prop_assert!(view.original(0..usize::MAX).end <= text.len());
        }
    }
}

#[test]
fn a_plain_text_is_its_own_view() {
    let text = "nothing here, 100%";
    let view = readable(text);
    assert_eq!((view.text(), view.original(8..12)), (text, 8..12));
    assert_eq!(readable("").original(0..9), 0..0);
    assert_eq!(readable("\u{200b}").original(0..9), 0..0);
}
