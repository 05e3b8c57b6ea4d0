//! What holds of all texts.

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;
use crate::redact;

fn digits(n: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0_u8..10, n)
}

fn text_of(digits: &[u8]) -> String {
    digits.iter().map(|digit| char::from(b'0' + digit)).collect()
}

/// 16 digits of a Visa card, the last of them right.
fn card() -> impl Strategy<Value = String> {
    digits(14).prop_map(|middle| {
        let head = [&[4], middle.as_slice()].concat();
        let number = (0..10).map(|check| [head.as_slice(), &[check]].concat()).find(|all| payment::luhn(all));
        text_of(&number.unwrap_or_default())
    })
}

fn resident() -> impl Strategy<Value = String> {
    (1_u32..29, 1_u32..13, 1950_u32..2020, digits(3)).prop_map(|(day, month, year, order)| {
        let head = format!("110105{year}{month:02}{day:02}{}", text_of(&order));
        let power = |n: usize| (0..17 - n).fold(1, |value, _| value * 2 % 11);
        let sum: u32 = head.bytes().enumerate().map(|(n, byte)| u32::from(byte - b'0') * power(n)).sum();
        let check = (12 - sum % 11) % 11;
        format!("{head}{}", if check == 10 { "X".to_owned() } else { check.to_string() })
    })
}

fn iban() -> impl Strategy<Value = String> {
    digits(18).prop_map(|account| {
        // DE is 13 14.
        let rest = [text_of(&account), "131400".to_owned()].concat();
        let rest = rest.bytes().fold(0, |rest, byte| (rest * 10 + u32::from(byte - b'0')) % 97);
        format!("DE{:02}{}", 98 - rest, text_of(&account))
    })
}

/// Pieces that rules look for, and what stands between them.
fn piece() -> impl Strategy<Value = String> {
    let fixed = proptest::sample::select(vec![
        "password=",
        "passport ",
        "born ",
        "ssn ",
        "token: ",
        "\"",
        "'",
        "-",
        ".",
        "/",
        "+",
        "(",
        ")",
        ":",
        "@",
        "=",
        " ",
        "\n",
        "]",
        "[",
        "*",
        "version ",
        "1990-01-31",
        "1990年1月31日",
        "E12345678",
        "Authorization: Bearer ",
        "https://",
        "a:b1@",
        "x@y.com",
        "+41446681800",
        "415-555-2671",
        "93.184.216.34",
        "00:1b:44:11:3a:b7",
        "2001:4860:4860::8888",
        "中",
        "身份证",
        "密码：",
        "-----BEGIN PRIVATE KEY-----",
        "aB3dE6gH9",
        "4111111111111111",
        "13812345678",
        "é",
        "536-22-1234",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        "出生",
        ",",
        "#",
        "%",
    ]);
    prop_oneof![4 => fixed.prop_map(str::to_owned), 1 => card(), 1 => resident(), 1 => iban(), 1 => "\\PC{0,6}"]
}

fn mixed() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

fn kinds(text: &str) -> Vec<(Kind, &str)> {
    personal_data(text, KindSet::ALL).into_iter().map(|f| (f.kind, &text[f.range])).collect()
}

proptest! {
    #[test]
    fn valid_numbers_are_found_and_one_wrong_digit_is_not(
        card in card(), resident in resident(), iban in iban(), at in 0_usize..100, by in 1_u8..10,
    ) {
        for (kind, number) in [(Kind::Card, card), (Kind::ResidentId, resident), (Kind::Iban, iban)] {
            let text = format!("号码{number}，");
            prop_assert_eq!(kinds(&text), [(kind, number.as_str())]);
            let mut wrong = number.clone().into_bytes();
            let places: Vec<_> = (0..wrong.len()).filter(|n| wrong[*n].is_ascii_digit()).collect();
            let place = places[at % places.len()];
            wrong[place] = b'0' + (wrong[place] - b'0' + by) % 10;
            let wrong = String::from_utf8(wrong).unwrap();
            prop_assert!(kinds(&wrong).iter().all(|(other, _)| *other != kind), "{} {}", number, wrong);
        }
    }

    #[test]
    fn findings_are_in_order_between_characters_and_apart(text in mixed()) {
        let found = personal_data(&text, KindSet::ALL);
        prop_assert!(found.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
        for finding in &found {
            prop_assert!(text.get(finding.range.clone()).is_some_and(|found| !found.is_empty()));
            prop_assert!((0.0..=1.0).contains(&finding.confidence));
        }
    }

    #[test]
    fn any_text_is_read(text in "\\PC{0,120}") {
        let found = personal_data(&text, KindSet::ALL);
        let _ = redact(&text, &found);
    }
}

proptest! {
    // Hundreds of thousands of cases hold, but no proof says that all do: CI tries the same ones each time.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn nothing_found_is_left_and_nothing_is_found_again(text in mixed()) {
        let found = personal_data(&text, KindSet::ALL);
        let once = redact(&text, &found);
        let again = personal_data(&once, KindSet::ALL);
        prop_assert!(again.is_empty(), "{:?} -> {:?}: {:?}", text, once, again);
    }
}
