//! What a text says without its disguises, told only of texts that are disguised.
//!
//! Lists of terms compare skeletons, in which ordinary text is distorted too: a model should not be shown those. Here a word is
//! changed only if it is hardly one as it stands and becomes one by the change, by its pairs of letters.

use std::{collections::HashMap, ops::Range, sync::LazyLock};

use crate::{
    View,
    decode::plausible::cost,
    han, leet,
    letters::{is_han, is_letter_or_digit, runs},
    spaced::{self, Split},
    view::Edits,
};

/// Half bits a letter up to which letters make a word; English has 8 in the mean.
const GOOD: usize = 11;

/// Half bits that the end of a word may cost beside: short words pay for it with few letters.
const GOOD_END: usize = 3;

/// Half bits that two letters cost from which on they do not.
const BAD: usize = 23;

/// Half bits that a word with l must be better by than the one with i.
const L_MARGIN: usize = 8;

/// Fewer letters, and a code or an abbreviation reads like a word by chance.
const MIN_LETTERS: usize = 4;

/// Longer ones are keys and addresses.
const MAX_TOKEN: usize = 24;

/// What has only such digits from this length on is a hash.
const MIN_HASH: usize = 6;

/// Signs that no ordinary text has between two Chinese characters, and white space, which it has only in titles.
fn splits_words(separator: char) -> bool {
    separator.is_whitespace() || matches!(separator, '*' | '_' | '^' | '★' | '☆' | '●' | '○' | '♥' | '❤')
}

/// What a text says when words that are split into letters, written with digits and signs, in halves of Chinese characters or by
/// their sound are written out; `None` for a text that holds none. Takes the [`readable`](crate::readable) text.
///
/// The rest stays as it is. "B2B", "v1.2b3", "$4.99" and "H1N1" are no disguised words.
#[must_use]
pub fn undisguised(readable: &View) -> Option<View> {
    let edits = spaced::joined(readable.text());
    let mut disguised = spaced::splits(readable.text(), &edits).iter().any(is_word);
    let view = readable.clone().edit(&edits);

    disguised |= has_signs(view.text());
    let edits = if disguised { signs(view.text()) } else { Edits::default() };
    let view = view.edit(&edits);

    let edits = han::halves(view.text());
    disguised |= !edits.is_empty();
    let view = view.edit(&edits);

    let edits = spellings(view.text());
    disguised |= !edits.is_empty();
    disguised.then(|| view.edit(&edits))
}

/// Whether letters that stood apart are a word, rather than initials or a list.
fn is_word(split: &Split) -> bool {
    let Split { word, separator } = split;
    if word.chars().all(is_han) {
        return splits_words(*separator);
    }
    // N.A.T.O. is an abbreviation.
    let capitals = word.chars().all(|c| c.is_ascii_uppercase());
    let plain: Option<String> =
        word.chars().map(|c| if c.is_ascii_alphabetic() { Some(c) } else { leet::letter(c) }).collect();
    !capitals && plain.is_some_and(|plain| plain.len() >= MIN_LETTERS && reads_well(&plain))
}

fn costs(word: &str) -> usize {
    cost(word.bytes()) as usize
}

fn reads_well(word: &str) -> bool {
    costs(word) <= GOOD * word.len() + GOOD_END
}

/// Words that may be written with digits and signs for letters, each with its place.
fn mixed_words(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let tokens = leet::tokens(text).filter(|(range, token)| {
        let hash =
            token.len() >= MIN_HASH && token.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        let long = token.len() > MAX_TOKEN;
        !long && !hash && !token.contains(['/', '\\', '_', '|', '<', '(', ')']) && !is_part(text, range)
    });
    tokens.flat_map(|(range, token)| {
        let words = runs(token, |c| c != '-').filter_map(|(part, word)| trimmed(part, word));
        words.map(move |(part, word)| (range.start + part.start..range.start + part.end, word))
    })
}

/// Whether words are written with digits and signs: one that is mostly letters, or two, of which nothing is a word as it stands.
fn has_signs(text: &str) -> bool {
    let mut words = 0;
    for (_, word) in mixed_words(text) {
        let Some(plain) = spelt_out(word).filter(|_| !is_composed(word)) else { continue };
        let mostly = 2 * letters(word) > plain.len();
        // Codes are in capitals.
        let small = word.bytes().any(|byte| byte.is_ascii_lowercase());
        words += usize::from(small || mostly);
        if words > 1 || small && mostly && plain.len() >= MIN_LETTERS {
            return true;
        }
    }
    false
}

/// Words in place of those with digits and signs for letters, for a text that is known to be disguised.
fn signs(text: &str) -> Edits {
    let mut edits = Edits::default();
    for (range, word) in mixed_words(text) {
        if let Some(plain) = spelt_out(word) {
            edits.replace(range, &plain);
        }
    }
    edits
}

fn letters(word: &str) -> usize {
    word.bytes().filter(u8::is_ascii_alphabetic).count()
}

/// Whether a word reads like several with numbers between them: sha1sum.
fn is_composed(word: &str) -> bool {
    let left: usize = runs(word, |c| c.is_ascii_alphabetic()).map(|(_, part)| costs(part)).sum();
    2 * left < BAD * letters(word)
}

/// Whether a token is a part of an address, a version, a file name or the like.
fn is_part(text: &str, range: &Range<usize>) -> bool {
    let before = text[..range.start].chars().next_back();
    let mut after = text[range.end..].chars();
    let goes_on = matches!(after.next(), Some('.' | ':' | '=' | '@' | '%' | '&' | '?' | '#'))
        && after.next().is_some_and(is_letter_or_digit);
    goes_on || matches!(before, Some('.' | ':' | '=' | '#' | '&' | '?' | '%' | '@' | '~'))
}

/// A word without the exclamation marks around it.
fn trimmed(range: Range<usize>, word: &str) -> Option<(Range<usize>, &str)> {
    let end = range.start + word.trim_end_matches(['!', '+']).len();
    let word = word.trim_end_matches(['!', '+']);
    let inner = word.trim_start_matches(['!', '+']);
    (!inner.is_empty()).then_some((end - inner.len()..end, inner))
}

/// The word that letters with digits or signs among them stand for.
fn spelt_out(word: &str) -> Option<String> {
    let letters = letters(word);
    let signs = word.chars().count() - letters;
    let inside =
        word.trim_matches(|c: char| !c.is_ascii_alphabetic()).chars().any(|c| !c.is_ascii_alphabetic());
    // As i18n.
    let abbreviated = letters == 2 && runs(word, |c| c.is_ascii_digit()).any(|(_, digits)| digits.len() > 1);
    if signs == 0 || letters < signs || !inside || abbreviated {
        return None;
    }
    // A one is also an l, though more often an i.
    let with = |one: char| -> Option<String> {
        let letter = |c: char| match c {
            '1' => Some(one),
            c if c.is_ascii_alphabetic() => Some(c),
            c if c.is_ascii() => leet::letter(c),
            _ => None,
        };
        word.chars().map(letter).collect()
    };
    let (i, l) = (with('i')?, with('l')?);
    let plain = if costs(&l) + L_MARGIN < costs(&i) { l } else { i };
    reads_well(&plain).then_some(plain)
}

/// Spellings of Chinese words: by their first character those with Chinese ones in them, the longest first; and the others.
struct Spellings {
    mixed: HashMap<char, Vec<(&'static str, &'static str)>>,
    latin: HashMap<&'static str, &'static str>,
}

static SPELLINGS: LazyLock<Spellings> = LazyLock::new(|| {
    let mut all = Spellings { mixed: HashMap::new(), latin: HashMap::new() };
    let lines = include_str!("../data/spellings.txt").lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let mut words = line.split_whitespace();
        let Some(word) = words.next() else { continue };
        for spelling in words {
            match spelling.chars().next() {
                Some(first) if spelling.contains(is_han) => {
                    all.mixed.entry(first).or_default().push((spelling, word));
                }
                _ => {
                    all.latin.insert(spelling, word);
                }
            }
        }
    }
    all.mixed
        .values_mut()
        .for_each(|spellings| spellings.sort_by_key(|(spelling, _)| std::cmp::Reverse(spelling.len())));
    all
});

/// Chinese words in place of their other spellings.
fn spellings(text: &str) -> Edits {
    let known = &*SPELLINGS;
    let mut edits = Edits::default();
    let mut at = 0;
    let mut before = ' ';
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let inside = is_letter_or_digit(before) && !is_han(before);
        let mixed = known.mixed.get(&c).filter(|_| !inside || is_han(c));
        let found =
            mixed.and_then(|mixed| mixed.iter().find(|(spelling, _)| rest.starts_with(spelling))).copied();
        let found = found.or_else(|| {
            // A run of letters is looked at once, where it starts.
            let starts = c.is_ascii_lowercase()
                && !inside
                && !matches!(before, '.' | '@' | '/' | '_' | '-' | '#' | ':');
            let word = starts
                .then(|| &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())])?;
            let mut after = rest[word.len()..].chars();
            let goes_on = matches!(after.next(), Some('.' | '@' | '/' | '_' | '-' | '(' | ':'))
                && after.next().is_some_and(|c| c.is_ascii_alphanumeric());
            let (spelling, chinese) = known.latin.get_key_value(word).filter(|_| !goes_on)?;
            Some((*spelling, *chinese))
        });
        let length = match found {
            Some((spelling, word)) => {
                edits.replace(at..at + spelling.len(), word);
                spelling.len()
            }
            None => c.len_utf8(),
        };
        before = text[at..at + length].chars().next_back().unwrap_or(c);
        at += length;
    }
    edits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readable;

    fn says(text: &str) -> Option<String> {
        undisguised(&readable(text)).map(|view| view.text().to_owned())
    }

    #[test]
    fn disguised_words_are_written_out() {
        for (written, says_so) in [
            ("I will k1ll y0u", "I will kill you"),
            ("Just k1ll y0urself and d1e", "Just kill yourself and die"),
            ("You are an 1d10t, sh1t!", "You are an 1d10t, shit!"),
            ("w0rthl3ss p1ece of sh!t", "worthless piece of shit"),
            ("go k i l l  y o u r s e l f now", "go kill  yourself now"),
            ("s.h.i.t, he said", "shit, he said"),
            ("you b-i-t-c-h", "you bitch"),
            ("d13, b1tch", "d13, bitch"),
            ("$ t u p 1 d", "stupid"),
            ("ｙ０ｕ b1tch", "you bitch"),
            ("你这个傻*逼", "你这个傻逼"),
            ("去 死 吧 你", "去死吧你"),
            ("氵去车仑工力", "法车仑工力"),
            ("你这个傻b，草泥马", "你这个傻逼,操你妈"),
            ("nmsl，去si吧", "你妈死了,去死吧"),
            ("你是不是shabi啊", "你是不是傻逼啊"),
        ] {
            assert_eq!(says(written).as_deref(), Some(says_so), "{written}");
        }
    }

    #[test]
    fn ordinary_text_is_not_disguised() {
        for text in [
            "The 1st of 2024-11-23, at 9:30am: 100k users, 5pm, 3rd, 24/7, $4.99, £5, 50% off, 1,000!",
            "v1.2.3-beta.4, 10.0.0.1, IPv6, x86_64, arm64v8, utf8mb4, UTF-8, sha256sum, sha1sum, md5sum, base64, ISO8859-1",
            "B2B, P2P, H1N1, H5N1, COVID-19, MP3, MP4, 4K, A4, Windows11, iPhone15, GPT4, log4j, Web3, Se7en, 3M, 7zip, Office365",
            "k8s, i18n, l10n, a11y, e2e, s3, ec2, c++11, int32_t, u8, f64, x1, y2, var1, h264, R2D2, C3PO, V8, 2FA, MI5, U2",
            "commit e3b0c44 d41d8cd9 fa57ca7 550e8400-e29b-41d4-a716-446655440000 #c0ffee #ff8800",
            "let x1 = a[i]|b; if (n0de != 0) { p->d4ta = 0x1F; } /tmp/b1n/s3cret.txt https://ex4mple.org/p4th?q=he1lo",
            "jo3hn@ex4mple.org, @us3rname, g00gle.com, file1name.txt, room B1, gate A12, flight LH1234, 12V, 5GHz, 1080p",
            "U.S.A., N.A.T.O., e.g. this, i.e. that, a.k.a. him, F.B.I., Y.M.C.A., J. R. R. Tolkien, p.m., w.r.t., Ph.D.",
            "a b c d, A B C D, 1 2 3 4, x y z, a/b/c, a, b, c, d, e; - - - * * * a - b - c",
            "东、南、西、北；男/女；价格~优惠；甲|乙|丙；T恤、K歌、3D打印、5G网络、A股、iPhone15手机、第1名、2024年",
            "我们去公园散步吧。西安的方案很好，先生。沙比利木地板，紫砂壶，终点站。",
            "Qu'est-ce que c'est? L'été, Zhongguo Beijing Xi'an. TMD SB CNM. ABC123 XJ4-77B AB12 CD34 (555) 123-4567",
        ] {
            assert_eq!(says(text), None, "{text}");
        }
    }

    #[test]
    fn findings_lead_back() {
        let text = "I will k1ll y o u r s e l f";
        let view = undisguised(&readable(text)).unwrap();
        let at = view.text().find("yourself").unwrap();
        assert_eq!(&text[view.original(at..at + 8)], "y o u r s e l f");
        let at = view.text().find("kill").unwrap();
        assert_eq!(&text[view.original(at..at + 4)], "k1ll");
    }

    proptest! {
        #[test]
        fn numbers_and_codes_are_not_disguised(
            words in proptest::collection::vec(
                "[0-9]{1,6}|[$£€][0-9]{1,4}(\\.[0-9]{2})?|v[0-9]\\.[0-9]{1,2}(\\.[0-9])?|[A-Z]{1,3}[0-9]{1,4}|[0-9]{1,3}(px|ms|kg|GB|km|am|pm|st|nd|rd|th)|\
                 [0-9a-f]{8}(-[0-9a-f]{4}){3}|[0-9a-f]{12}|[A-Z]{2}[0-9]{2}-[0-9]{4}|price|release|the|model|costs",
                0..12,
            ),
        ) {
            let text = words.join(" ");
            prop_assert_eq!(says(&text), None, "{}", text);
        }

        #[test]
        fn nothing_panics(text in "(\\PC|[a-z01345@$!.* -]|[傻比b氵去]){0,60}") {
            if let Some(view) = undisguised(&readable(&text)) {
                prop_assert!(view.original(0..usize::MAX).end <= text.len());
            }
        }
    }
}
