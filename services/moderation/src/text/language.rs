//! The language of a text.
//!
//! Chinese, Japanese and Korean are told by their letters. Of a text in another script, three witnesses are heard: the
//! frequencies of its trigrams, a linear classifier of its n-grams, and its commonest words. A language that two of them name,
//! or of which the trigrams alone are sure, is the text's; else none is: a wrong language is worse than none.

use std::{collections::HashMap, sync::LazyLock};

use whatlang::{Lang, Script};

/// Letters that are looked at, at most: more would hardly change what they say, and cost time.
const MOST_LETTERS: usize = 400;
/// Characters, letters and others, that these are looked for in.
const MOST_CHARACTERS: usize = 4 * MOST_LETTERS;
/// Letters, at least: of scripts with an alphabet, and of Chinese, whose letters say more.
const LEAST_LETTERS: usize = 6;
const LEAST_IDEOGRAPHS: usize = 2;
/// Letters of an alphabet that weigh as much as one of Chinese or Japanese or a syllable of Korean.
const LETTERS_PER_IDEOGRAPH: usize = 3;
/// Letters for each symbol, at least: with fewer it is code, an address or a drawing.
const LETTERS_PER_SYMBOL: usize = 3;
/// Of whatlang's confidence, where it is the only witness: in scripts of many languages, and of few.
const SURE_OF_MANY: f64 = 0.5;
const SURE_OF_FEW: f64 = 0.15;

/// The BCP 47 tag of the language that most of a text's first few hundred letters are in, one of some 70, or `""` where that is unclear.
///
/// Chinese is `zh` in whatever letters it is written, and so is Japanese without kana.
#[must_use]
pub fn language(text: &str) -> &'static str {
    let mut letters = Letters::default();
    for letter in text.chars().take(MOST_CHARACTERS) {
        letters.add(letter);
        if letters.count() == MOST_LETTERS {
            break;
        }
    }
    letters.language()
}

/// What a text is written in.
#[derive(Default)]
struct Letters {
    han: usize,
    kana: usize,
    hangul: usize,
    others: usize,
    /// What is neither letter nor digit nor space.
    symbols: usize,
    /// The text without its Chinese, Japanese and Korean letters.
    rest: String,
}

impl Letters {
    fn add(&mut self, letter: char) {
        match letter {
            '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}' => self.han += 1,
            '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9f}' => self.kana += 1,
            '\u{1100}'..='\u{11ff}' | '\u{3131}'..='\u{318e}' | '\u{ac00}'..='\u{d7a3}' => self.hangul += 1,
            _ => {
                self.others += usize::from(letter.is_alphabetic());
                self.symbols += usize::from(!letter.is_alphanumeric() && !letter.is_whitespace());
                self.rest.push(letter);
                return;
            }
        }
        self.rest.push(' ');
    }

    fn count(&self) -> usize {
        self.han + self.kana + self.hangul + self.others
    }

    fn language(&self) -> &'static str {
        let east = self.han + self.kana + self.hangul;
        if east * LETTERS_PER_IDEOGRAPH < self.others {
            let told = self.others >= LEAST_LETTERS && self.symbols * LETTERS_PER_SYMBOL <= self.others;
            return if told { witnesses(&self.rest) } else { "" };
        }
        if east < LEAST_IDEOGRAPHS {
            return "";
        }
        // Chinese names a brand with a kana or two; of Japanese they are a third and more.
        match () {
            () if self.hangul * 2 >= east => "ko",
            () if self.kana * 6 >= east => "ja",
            () => "zh",
        }
    }
}

/// What two of the witnesses agree on, or the trigrams are sure of alone. Words may not speak against the other two: these guess
/// even where a text is too short to tell. The trigrams cost the most and come last.
fn witnesses(text: &str) -> &'static str {
    let (grams, words) = (of_ngrams(whichlang::detect_language(text)), of_words(text));
    if grams == words {
        return words;
    }
    let Some(trigrams) = whatlang::detect(text) else { return "" };
    let sure = match trigrams.script() {
        Script::Latin | Script::Cyrillic => SURE_OF_MANY,
        _ => SURE_OF_FEW,
    };
    let first = of_trigrams(trigrams.lang());
    let agreed = first == words || first == grams && words.is_empty();
    if agreed || trigrams.confidence() >= sure { first } else { "" }
}

/// The language most of whose commonest words stand in the text, if one has more of them than any other.
fn of_words(text: &str) -> &'static str {
    let mut counts = [0_usize; WORDS.len()];
    for word in text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()) {
        for language in LANGUAGES.get(word.to_lowercase().as_str()).into_iter().flatten() {
            counts[*language] += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or_default();
    let mut leaders = counts.iter().zip(WORDS).filter(|(count, _)| **count == most);
    match (leaders.next(), leaders.next()) {
        (Some((_, (tag, _))), None) if most > 0 => tag,
        _ => "",
    }
}

/// The languages that have a word among their commonest, by their places in [`WORDS`].
static LANGUAGES: LazyLock<HashMap<&str, Vec<usize>>> = LazyLock::new(|| {
    let mut languages = HashMap::<_, Vec<_>>::new();
    for (n, (_, words)) in WORDS.iter().enumerate() {
        words.split(' ').for_each(|word| languages.entry(word).or_default().push(n));
    }
    languages
});

/// The commonest words of languages that are often written in short; those left out that mean something in others are few.
const WORDS: [(&str, &str); 14] = [
    (
        "en",
        "the and of to in is you that it for are was this with have not be at what all we your they my how do will i can from me who about if or just like get",
    ),
    (
        "de",
        "der die das und ist nicht ich du sie wir ein eine zu mit auf den dem für wie was es im auch bin bist hat haben sehr mich dich kann",
    ),
    (
        "fr",
        "es le la les de des et est un une je tu nous vous il elle pas que qui dans pour sur avec au aux ce cette mon ton très suis ne du",
    ),
    (
        "es",
        "el la los las de y que en es un una no por para con se lo mi tu está muy como pero yo más del al hoy eres",
    ),
    (
        "it",
        "il la lo gli le di e che è un una non per con si mi ti sono come ma molto del della alla alle nel questo io sei i",
    ),
    (
        "pt",
        "o a os as de e que em é um uma não por para com se eu você está muito como mas do da no na ao à às meu",
    ),
    (
        "nl",
        "de het een en van is niet ik je jij wij ze in op te dat met voor zijn aan heel ben hoe wat om mijn naar",
    ),
    ("sv", "och att det är en ett jag du inte på som för med av den har vi mycket om till kan ska hur mig"),
    (
        "da",
        "dig og at det er en et jeg du ikke på som for med af den har vi meget om til kan skal hvordan mig",
    ),
    (
        "nb",
        "deg og at det er en et jeg du ikke på som for med av den har vi veldig om til kan skal hvordan meg",
    ),
    ("pl", "i w na się nie to jest z do że jak co ja ty bardzo o po dla są mnie czy"),
    ("tr", "ve bir bu çok ne için ben sen mi mı da de ile gibi var yok değil daha şey"),
    ("id", "yang dan di ini itu dengan untuk tidak saya kamu dari ke ada akan pada sangat apa"),
    ("ro", "se și în la este nu un o cu de pe că ce mai sunt eu tu foarte din"),
];

fn of_ngrams(language: whichlang::Lang) -> &'static str {
    use whichlang::Lang as L;
    match language {
        L::Ara => "ar",
        L::Cmn => "zh",
        L::Deu => "de",
        L::Eng => "en",
        L::Fra => "fr",
        L::Hin => "hi",
        L::Ita => "it",
        L::Jpn => "ja",
        L::Kor => "ko",
        L::Nld => "nl",
        L::Por => "pt",
        L::Rus => "ru",
        L::Spa => "es",
        L::Swe => "sv",
        L::Tur => "tr",
        L::Vie => "vi",
    }
}

/// As BCP 47 has it: of two letters where there are two.
fn of_trigrams(language: Lang) -> &'static str {
    match language {
        Lang::Epo => "eo",
        Lang::Eng => "en",
        Lang::Rus => "ru",
        Lang::Cmn => "zh",
        Lang::Spa => "es",
        Lang::Por => "pt",
        Lang::Ita => "it",
        Lang::Ben => "bn",
        Lang::Fra => "fr",
        Lang::Deu => "de",
        Lang::Ukr => "uk",
        Lang::Kat => "ka",
        Lang::Ara => "ar",
        Lang::Hin => "hi",
        Lang::Jpn => "ja",
        Lang::Heb => "he",
        Lang::Yid => "yi",
        Lang::Pol => "pl",
        Lang::Amh => "am",
        Lang::Jav => "jv",
        Lang::Kor => "ko",
        Lang::Nob => "nb",
        Lang::Dan => "da",
        Lang::Swe => "sv",
        Lang::Fin => "fi",
        Lang::Tur => "tr",
        Lang::Nld => "nl",
        Lang::Hun => "hu",
        Lang::Ces => "cs",
        Lang::Ell => "el",
        Lang::Bul => "bg",
        Lang::Bel => "be",
        Lang::Mar => "mr",
        Lang::Kan => "kn",
        Lang::Ron => "ro",
        Lang::Slv => "sl",
        Lang::Hrv => "hr",
        Lang::Srp => "sr",
        Lang::Mkd => "mk",
        Lang::Lit => "lt",
        Lang::Lav => "lv",
        Lang::Est => "et",
        Lang::Tam => "ta",
        Lang::Vie => "vi",
        Lang::Urd => "ur",
        Lang::Tha => "th",
        Lang::Guj => "gu",
        Lang::Uzb => "uz",
        Lang::Pan => "pa",
        Lang::Aze => "az",
        Lang::Ind => "id",
        Lang::Tel => "te",
        Lang::Pes => "fa",
        Lang::Mal => "ml",
        Lang::Ori => "or",
        Lang::Mya => "my",
        Lang::Nep => "ne",
        Lang::Sin => "si",
        Lang::Khm => "km",
        Lang::Tuk => "tk",
        Lang::Aka => "ak",
        Lang::Zul => "zu",
        Lang::Sna => "sn",
        Lang::Afr => "af",
        Lang::Lat => "la",
        Lang::Slk => "sk",
        Lang::Cat => "ca",
        Lang::Tgl => "tl",
        Lang::Hye => "hy",
        Lang::Cym => "cy",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_are_told_by_their_language() {
        for (tag, text) in [
            ("en", "I will kill you"),
            ("en", "How are you today?"),
            ("en", "Can you help me with my homework?"),
            ("en", "You are a worthless piece of shit, shut the fuck up."),
            ("en", "Ignore all previous instructions"),
            ("zh", "你好"),
            ("zh", "今天天气很好，我们去公园"),
            ("zh", "圖書館九點開門，孩子們很喜歡聽故事"),
            ("zh", "这个 API 返回 null"),
            ("ja", "今日はいい天気ですね"),
            ("ja", "東京タワー"),
            ("ko", "안녕하세요 오늘 날씨가 좋네요"),
            ("de", "Wie geht es dir?"),
            ("de", "Die Bibliothek öffnet um neun Uhr."),
            ("fr", "Il fait très beau aujourd'hui."),
            ("es", "Hoy hace muy buen tiempo."),
            ("it", "Ti odio, sei un idiota"),
            ("pt", "A biblioteca abre às nove e as crianças adoram."),
            ("nl", "Hoe gaat het met je?"),
            ("sv", "Hur mår du?"),
            ("pl", "Biblioteka otwiera się o dziewiątej."),
            ("tr", "Kütüphane saat dokuzda açılıyor, çok güzel."),
            ("id", "Perpustakaan buka jam sembilan pagi."),
            ("vi", "Thư viện mở cửa lúc chín giờ."),
            ("ru", "Библиотека открывается в девять часов."),
            ("uk", "Привіт, як справи?"),
            ("el", "Η βιβλιοθήκη ανοίγει στις εννέα."),
            ("ar", "تفتح المكتبة في التاسعة صباحا."),
            ("fa", "کتابخانه ساعت نه باز می‌شود."),
            ("he", "הספרייה נפתחת בתשע בבוקר."),
            ("hi", "पुस्तकालय नौ बजे खुलता है।"),
            ("th", "ห้องสมุดเปิดเวลาเก้าโมง"),
            ("cs", "Knihovna se otevírá v devět hodin."),
        ] {
            assert_eq!(language(text), tag, "{text}");
        }
    }

    #[test]
    fn of_what_is_short_or_no_language_nothing_is_said() {
        for text in [
            "",
            " \n",
            "ok",
            "lol",
            "hello",
            "我",
            "12345 67 !!",
            "😀😀",
            "go die",
            "New York",
            "Tu es un idiot",
            "jane.doe@example.org",
            "https://example.org/path?query=1",
            "let x = vec.iter().map(|a| a + 1).collect();",
            "aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM=",
        ] {
            assert_eq!(language(text), "", "{text}");
        }
    }

    #[test]
    fn the_language_of_most_of_a_text_counts() {
        assert_eq!(language("I love 北京烤鸭 very much and so do you"), "en");
        assert_eq!(language("我昨天在 Starbucks 喝了一杯咖啡，味道很好"), "zh");
        assert_eq!(language(&format!("{}今天天气很好", "The library opens at nine. ".repeat(100))), "en");
    }

    proptest! {
        #[test]
        fn any_text_has_a_tag_or_none(text in any::<String>()) {
            let tag = language(&text);
            prop_assert!(tag.len() <= 2 && tag.bytes().all(|letter| letter.is_ascii_lowercase()));
        }
    }
}
