//! Disguises and what stands behind them.

use atelier_normalise::{View, pinyin, readable, skeleton};

/// All rows of a table that come out otherwise: what was written, what came out, what should have.
fn wrong<'a>(view: fn(&str) -> View, table: &[(&'a str, &'a str)]) -> Vec<(&'a str, String, &'a str)> {
    let made = table.iter().map(|(written, read)| (*written, view(written).text().to_owned(), *read));
    made.filter(|(_, made, read)| made != read).collect()
}

#[test]
fn a_reader_sees() {
    let table = [
        // Letters of another alphabet.
        ("fuсk", "fuck"),
        ("рorn", "porn"),
        ("сосk", "cock"),
        ("kіll yоu", "kill you"),
        ("fucк", "fuck"),
        ("аѕѕ is not a word", "ass is not a word"),
        ("ԍоԍ", "ԍоԍ"),
        ("хyй", "хуй"),
        ("сyка", "сука"),
        ("κill", "kill"),
        ("ՏЕХ is", "SEX is"),
        // Characters that show nothing.
        ("f\u{200b}u\u{200d}c\u{2060}k", "fuck"),
        ("f\u{ad}u\u{34f}c\u{feff}k", "fuck"),
        ("s\u{e0068}\u{e0069}hit", "shit"),
        ("傻\u{fe0f}逼\u{3164}", "傻逼"),
        ("\u{202e}kcuf\u{202c} you", "fuck you"),
        ("f\u{1}uck\r\nyou", "fuck\nyou"),
        // Marks.
        ("f\u{336}u\u{336}c\u{336}k\u{336}", "fuck"),
        ("k\u{301}\u{302}\u{303}\u{304}\u{305}ill", "\u{1e31}\u{302}\u{303}ill"),
        // Styles.
        ("𝓯𝓾𝓬𝓴 𝖋𝖚𝖈𝖐 𝐟𝐮𝐜𝐤 𝕗𝕦𝕔𝕜", "fuck fuck fuck fuck"),
        ("ｆｕｃｋ", "fuck"),
        ("ⓕⓤⓒⓚ 🄵🅄🄲🄺 🅕🅤🅒🅚 🅵🆄🅲🅺", "fuck FUCK FUCK FUCK"),
        ("⒡⒰⒞⒦", "fuck"),
        ("🅱\u{fe0f}itch", "Bitch"),
        ("ꜰᴜᴄᴋ ʏᴏᴜ", "fuck you"),
        ("noʎ ʞɔnɟ", "fuck you"),
        ("ʞɔnɟ", "fuck"),
        ("🇫🇺🇨🇰", "FUCK"),
        ("🇫 🇺 🇨 🇰", "F U C K"),
        ("a\u{3000}b\u{2028}c\u{2003}d\te", "a b\nc d e"),
    ];
    assert_eq!(wrong(readable, &table), []);
}

#[test]
fn ordinary_text_stays() {
    for text in [
        "The quick brown fox jumps over the lazy dog.\n\n  Indented, $5 (50%) @home!",
        "Résumé, naïve, Ångström, crème brûlée, Việt Nam, Čeština, Łódź, Türkçe ısı, smørrebrød, þorn",
        "Съешь же ещё этих мягких французских булок, да выпей чаю. Он сказал: рот, нос, ухо. Їжак, ґанок",
        "Ταχίστη αλώπηξ βαφής ψημένη γη, δρασκελίζει υπέρ νωθρού κυνός. ᾧ",
        "在没有光的地方，人们仍然相信明天会更好。「引号」、卡拉OK、T恤、３",
        "いろはにほへと ちりぬるを ガギグゲゴ ー 東京タワー",
        "키스의 고유조건은 입술끼리 만나야 하고",
        "نص حكيم له سر قاطع وذو شأن عظيم می\u{200c}خواهم كِتَابٌ",
        "עטלף אבק נס דרך מזגן שהתפוצץ כי חם. בְּרֵאשִׁית",
        "ऋषियों को सताने वाले दुष्ट राक्षसों क्\u{200d}ष",
        "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
        "Զվար այգում 𐐀 ᎣᏏᏲ",
        "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f} 🏳\u{fe0f}\u{200d}🌈 1\u{fe0f}\u{20e3} 👍🏽 🇺🇸🇬🇧 🅰\u{fe0f} 🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "μm, kΩ, Δx = 3·10², α and β, E = hν, πr",
        "/ˈɪŋɡlɪʃ/ [ɹʌn] fəˈnɛtɪk",
    ] {
        use unicode_normalization::UnicodeNormalization;
        let plain: String = text.nfkc().map(|c| if c == '\u{3000}' { ' ' } else { c }).collect();
        assert_eq!(readable(text).text(), plain, "{text}");
    }
}

#[test]
fn a_term_list_sees() {
    let table = [
        ("Fück THE Straße", "fuck the strasse"),
        ("5h1t $h!t sh!t! a$$ @ss b00bs n1gg3r h3llo", "shit shit shit! ass ass boobs nigger hello"),
        ("fu(k f(x) 2024 3.14 1,000", "fuck f(x) 2024 3.14 1,000"),
        ("|<ill /\\ss \\/agina f|_|ck", "kill ass vagina fuck"),
        ("f.u.c.k f u c k f_u_c_k f-u-c-k f * u", "fuck fuck fuck fuck f * u"),
        ("go f u c k yourself", "go fuck yourself"),
        ("f.u.(.k p о r n", "fuck porn"),
        ("I a man, a b", "i a man, a b"),
        ("fuuuuuck sooo", "fuuck soo"),
        ("傻*逼 法_輪_功 法 轮 功", "傻逼 法轮功 法轮功"),
        ("氵去车仑", "法车仑"),
        ("亻尔女子", "你女子"),
        ("⺡去 禾刂", "法 利"),
        ("習近平", "习近平"),
        ("🇸🇭🇮🇹", "shit"),
        ("СУКА сука", "сука сука"),
        ("сор СОР", "cop cop"),
        ("می\u{200c}خواهم", "میخواهم"),
        ("哈哈哈哈", "哈哈"),
    ];
    assert_eq!(wrong(skeleton, &table), []);
}

#[test]
fn pinyin_hears() {
    let table = [
        ("傻逼", "shabi"),
        ("傻比", "shabi"),
        ("煞笔 SB", "shabi sb"),
        ("shǎbī", "shabi"),
        ("sha逼", "shabi"),
        ("s h a b i", "shabi"),
        ("女", "nv"),
        ("hello 世界", "hello shijie"),
    ];
    assert_eq!(wrong(pinyin, &table), []);
}

#[test]
fn what_is_found_lies_in_the_original() {
    let text = "so: 𝓯.𝓾.с.k, you 傻*逼";
    let view = skeleton(text);
    for (term, written) in [("fuck", "𝓯.𝓾.с.k"), ("傻逼", "傻*逼"), ("you", "you")] {
        let at = view.text().find(term).unwrap();
        assert_eq!(&text[view.original(at..at + term.len())], written);
    }
    let view = pinyin("先生 西安");
    assert_eq!(view.text(), "xiansheng xian");
    let cuts: Vec<_> = (0..=view.text().len()).filter(|at| view.is_boundary(*at)).collect();
    assert_eq!(cuts, [0, 4, 9, 10, 12, 14]);
    assert_eq!(view.original(5..6), 3..6);
}
