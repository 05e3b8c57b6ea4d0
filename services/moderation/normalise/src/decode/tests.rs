use proptest::prelude::*;

use super::*;

fn all(text: &str) -> Vec<(Encoding, String)> {
    let found = decoded(text, &DecodeLimits::default()).unwrap();
    found.into_iter().map(|found| (found.encoding, found.text)).collect()
}

#[test]
fn hidden_texts_are_found_where_they_are() {
    for (encoding, hidden, says) in [
        (Encoding::Base64, "ZnVjayB5b3U=", "fuck you"),
        (Encoding::Base64, "ZnVjaw==", "fuck"),
        (Encoding::Base64, "ZnVjayB5b3U", "fuck you"),
        (Encoding::Base64, "5YK76YC8", "傻逼"),
        (
            Encoding::Base64,
            "SSB3YW50IHRvIGtpbGwgeW91\nYWxsIHRvbmlnaHQsIGFuZCB0\naGUgZG9nIGFzIHdlbGw=",
            "I want to kill youall tonight, and the dog as well",
        ),
        (Encoding::Hex, "6675636b20796f75", "fuck you"),
        (Encoding::Hex, "66 75 63 6b", "fuck"),
        (Encoding::Hex, "66:75:63:6B", "fuck"),
        (Encoding::Hex, r"\x66\x75\x63\x6b", "fuck"),
        (Encoding::Hex, "0x66, 0x75, 0x63, 0x6b", "fuck"),
        (Encoding::Base32, "MZ2WG2Y=", "fuck"),
        (Encoding::Binary, "01100110 01110101 01100011 01101011", "fuck"),
        (Encoding::Binary, "01100110011101010110001101101011", "fuck"),
        (Encoding::Ascii85, "<~Ao(mg~>", "flag"),
        (Encoding::Percent, "%66%75%63%6b", "fuck"),
        (Encoding::Percent, "https://a.b/?q=%E5%82%BB%E9%80%BC", "https://a.b/?q=傻逼"),
        (Encoding::HtmlEntities, "&#102;&#x75;&#99;k", "fuck"),
        (Encoding::UnicodeEscapes, r"\u0066\u{75}ck", "fuck"),
        (Encoding::UnicodeEscapes, "U+50BB U+903C", "傻逼"),
        (Encoding::UnicodeEscapes, r"\ud835\udc1a\u0061", "aa"),
        (Encoding::Rot13, "shpx lbh", "fuck you"),
        (Encoding::Reversed, "uoy kcuf", "fuck you"),
        (Encoding::Morse, "..-. ..- -.-. -.- / -.-- --- ..-", "fuck you"),
    ] {
        let text = format!("他说: {hidden} 。");
        let found = decoded(&text, &DecodeLimits::default()).unwrap();
        let one = found.iter().find(|found| found.encoding == encoding && found.text == says);
        let at = one.map(|found| &text[found.source.clone()]);
        assert_eq!(at, Some(hidden), "{encoding:?}: {found:?}");
    }
}

#[test]
fn hidden_texts_are_found_in_others() {
    // base64 of base64 of "eat shit"; base64 of the hexadecimal digits of "fuck you"; base64 of rot13.
    assert!(all("WldGMElITm9hWFE9").contains(&(Encoding::Base64, "eat shit".to_owned())));
    assert!(all("NjY3NTYzNmIyMDc5NmY3NQ==").contains(&(Encoding::Hex, "fuck you".to_owned())));
    assert!(all("c2hweCBsYmg=").contains(&(Encoding::Rot13, "fuck you".to_owned())));
    let shallow = DecodeLimits { depth: 1, ..DecodeLimits::default() };
    assert_eq!(decoded("c2hweCBsYmg=", &shallow), Ok(vec![]));
    // base64 of base64 of "eat shit" with a space of no width in it.
    assert!(all("WldGMOKAi0lITm9hWFE9").contains(&(Encoding::Base64, "eat shit".to_owned())));
}

#[test]
fn ordinary_text_hides_nothing() {
    for text in [
        "The committee met on 2024-11-23 at 09:30 to discuss the budget. Mr. O'Neill, who'd arrived late, said: \"We \
         can't keep spending $1,200,000 a year!\" Nobody answered... The API (see RFC 4648) returns 404; use HTTPS, JSON \
         and UTF-8. Psychology, rhythm, strengths, McDonald's, JavaScript, GitHub, PostgreSQL, nginx, kubectl.",
        "INTERNATIONAL BUSINESS MACHINES ANNOUNCED ADDITIONAL INFORMATION REGARDING RESPONSIBILITIES",
        "在没有光的地方，人们仍然相信明天会更好。第一章 2024年11月23日，他花了￥1,200买了一台iPhone15。……——",
        "https://example.com/a/b-c_d/Path%20To%2FFile.html?utm_source=news&id=12345&amp;x=%7B%22%7D#Section-2",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 d41d8cd98f00b204e9800998ecf8427e da39a3ee5e6b4b0d",
        "550e8400-e29b-41d4-a716-446655440000 019373c2-5c1e-7bb1-a3f0-9f3c1d2e4b5a 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "+49 170 1234567, 10.0.0.1, 192.168.0.1:8080, 00:1A:2B:3C:4D:5E, v1.2.3-beta.4, 1010 0101 1111, #ff8800",
        "- - -\n1. one\n---\n|---|---|\n... and so on ... -- he said -- _ _ _",
        "let x = foo(bar)?; // printf(\"%4d %6.2f\\n\"); C:\\Users\\xavier\\Documents; fn main() -> Result<(), Error>",
        "Der Zweck heiligt nicht die Mittel. L'été dernier, nous mangions. El niño comió. Zhongguo Beijing Xi'an.",
    ] {
        assert_eq!(all(text), [], "{text}");
    }
}

#[test]
fn limits_hold() {
    let text = "ZnVjayB5b3U= ".repeat(1_000);
    assert_eq!(decoded(&text, &DecodeLimits::default()).unwrap().len(), 1_000);
    let few = DecodeLimits { bytes: 7_999, ..DecodeLimits::default() };
    assert_eq!(decoded(&text, &few), Err(TooMuchHidden { limit: 7_999 }));
    assert_eq!(decoded(&text, &DecodeLimits { depth: 0, ..few }), Ok(vec![]));
    // A text that grows when it is made readable: an Arabic ligature of 18 letters.
    let ligatures = "77e6".repeat(100);
    let limits = DecodeLimits { bytes: 1_000, ..DecodeLimits::default() };
    assert_eq!(decoded(&ligatures, &limits), Err(TooMuchHidden { limit: 1_000 }));
}

proptest! {
    #[test]
    fn whatever_is_found_lies_within(
        text in proptest::string::string_regex(r"([a-zA-Z0-9+/=_%&#;.\- \n]|\\u[0-9a-f]{4}|%[0-9A-F]{2}|&#[0-9]{2,3};|<~|~>|\PC){0,80}").unwrap(),
        depth in 0_usize..4, bytes in 0_usize..200,
    ) {
        for one in decoded(&text, &DecodeLimits { depth, bytes }).unwrap_or_default() {
            prop_assert!(text.get(one.source).is_some_and(|source| !source.is_empty()));
            prop_assert!(!one.text.is_empty() && one.text.len() <= bytes);
        }
    }

    #[test]
    fn random_digits_hide_nothing(bytes in proptest::collection::vec(any::<u8>(), 16..64)) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert!(all(&hex).iter().all(|(encoding, _)| *encoding != Encoding::Hex));
    }
}
