//! Characters that show nothing, and white space.

use crate::view::Edits;

/// Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt), interlinear annotation, and control characters
/// that are no white space.
fn shows_nothing(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{ad}' | '\u{34f}'
        | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether [`unseen`] may change something at this character.
pub(crate) fn is_unseen(c: char) -> bool {
    shows_nothing(c) || space(c).is_some()
}

/// The blocks that hold emoji, with neighbours that do no harm.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{23ff}' | '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}'
        | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Scripts whose spelling needs joiners (UAX #31, section 2.3): Arabic to N'Ko, the Brahmic ones, Mongolian.
fn needs_joiners(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{7ff}' | '\u{840}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{1000}'..='\u{109f}'
        | '\u{1780}'..='\u{17ff}' | '\u{1800}'..='\u{18af}' | '\u{1a20}'..='\u{1aaf}' | '\u{a840}'..='\u{a8ff}'
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{11000}'..='\u{11fff}')
}

/// The flags of England, Scotland and Wales: the only ones spelt with tag characters (emoji-sequences.txt, 16.0).
const TAG_FLAGS: [&str; 3] = [
    "\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

/// Whether an invisible character has a purpose between what is shown before it and what follows.
fn has_purpose(c: char, before: Option<char>, after: Option<char>) -> bool {
    let (Some(before), after) = (before, after.unwrap_or('\n')) else { return false };
    match c {
        '\u{200d}' if is_pictograph(after) => is_pictograph(before) || before == '\u{fe0f}',
        '\u{200c}' | '\u{200d}' => needs_joiners(before) && needs_joiners(after),
        '\u{fe0e}' | '\u{fe0f}' => {
            is_pictograph(before) || (after == '\u{20e3}' && matches!(before, '0'..='9' | '#' | '*'))
        }
        '\u{180b}'..='\u{180f}' => matches!(before, '\u{1820}'..='\u{18aa}'),
        _ => false,
    }
}

/// What stands in for white space: a space or a line feed.
fn space(c: char) -> Option<char> {
    match c {
        '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        // The Braille blank is a space in Braille as well.
        '\t'
        | '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200a}'
        | '\u{202f}'
        | '\u{205f}'
        | '\u{2800}'
        | '\u{3000}' => Some(' '),
        _ => None,
    }
}

/// What a right-to-left override (UAX #9, section 2.2) turns round; `None` if it holds nothing, or letters that go from
/// right to left anyway.
fn overridden(after: &str) -> Option<&str> {
    let ends = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let inner = &after[..after.find(ends).unwrap_or(after.len())];
    let goes_left = |c: char| matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}');
    (!inner.is_empty() && !inner.contains(goes_left)).then_some(inner)
}

/// Takes away what shows nothing, makes white space plain, and turns round what an override shows from right to left.
pub(crate) fn unseen(text: &str) -> Edits {
    let mut edits = Edits::default();
    let mut shown: Option<char> = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        at += c.len_utf8();
        let rest = &text[at..];
        if matches!(c, ' '..='~' | '\n' | '\u{c0}'..='\u{2ff}' | '\u{370}'..='\u{600}' | '\u{3041}'..='\u{312f}' | '\u{4e00}'..='\u{d7a3}')
        {
            shown = Some(c);
        } else if c == '\u{202e}'
            && let Some(inner) = overridden(rest)
        {
            at += inner.len();
            edits.replace_chars(start..at, inner.chars().rev());
            shown = inner.chars().next();
        } else if c == '\u{1f3f4}'
            && let Some(flag) = TAG_FLAGS.iter().find(|flag| rest.starts_with(*flag))
        {
            at += flag.len();
            shown = Some(c);
        } else if (c == '\r' && rest.starts_with('\n'))
            || (shows_nothing(c) && !has_purpose(c, shown, rest.chars().next()))
        {
            edits.remove(start..at);
        } else {
            if let Some(space) = space(c) {
                edits.swap(start, c, space);
            }
            shown = Some(c);
        }
    }
    edits
}

/// Takes away the joiners and variation selectors that a readable text still has.
pub(crate) fn joiners(text: &str) -> Edits {
    let mut edits = Edits::default();
    for (at, c) in text.char_indices().filter(|(_, c)| !c.is_ascii() && shows_nothing(*c)) {
        edits.remove(at..at + c.len_utf8());
    }
    edits
}
