//! Chinese characters: simplified, put together from halves, by their sound.

use std::sync::LazyLock;

use pinyin::ToPinyin;

use crate::{letters::is_han, table::Table, view::Edits};

/// The simplified character, if it is another one.
pub(crate) static SIMPLIFIED: LazyLock<Table<Option<char>>> =
    LazyLock::new(|| Table::new(look_up_simplified));

/// Traditional characters and their simplified ones by code point, made by `data/simplified.py`.
static PAIRS: LazyLock<Vec<(char, char)>> = LazyLock::new(|| {
    let chars: Vec<char> = include_str!("../data/simplified.txt").chars().filter(|c| *c != '\n').collect();
    chars.as_chunks::<2>().0.iter().map(|[traditional, simplified]| (*traditional, *simplified)).collect()
});

fn look_up_simplified(c: char) -> Option<char> {
    let at = PAIRS.binary_search_by_key(&c, |(traditional, _)| *traditional).ok()?;
    PAIRS.get(at).map(|(_, simplified)| *simplified)
}

/// A radical in the form that it has at the side of a character and ordinary text never shows alone, whether it stands
/// before the rest, and the rests, each with the character that it makes.
type Half = (char, bool, &'static str);

/// Common simplified characters that fall apart in two, where one half can be nothing else.
const HALVES: [Half; 17] = [
    (
        '氵',
        true,
        "去法 工江 每海 可河 少沙 主注 由油 气汽 西洒 谷浴 林淋 皮波 包泡 青清 也池 胡湖 良浪 先洗 台治 同洞 羊洋 朝潮 票漂 夜液 舌活 肖消 \
     显湿 昷温 莫漠 度渡 共洪",
    ),
    (
        '亻',
        true,
        "尔你 也他 门们 故做 本体 木休 主住 言信 古估 半伴 列例 亭停 二仁 弋代 寸付 五伍 立位 吏使 直值 建健 共供 义仪 牛件 到倒 专传 象像 \
     昌倡 子仔",
    ),
    (
        '扌',
        true,
        "丁打 巴把 殳投 斤折 丑扭 戈找 非排 白拍 台抬 由抽 包抱 召招 比批 支技 旦担 石拓 安按 是提 隹推 合拾 足捉 军挥 奉捧 罢摆 少抄 巨拒 \
     立拉 广扩 甫捕 发拨 爪抓 仓抢",
    ),
    (
        '讠',
        true,
        "兑说 井讲 人认 只识 吾语 舌话 卖读 果课 周调 胃谓 己记 义议 式试 司词 平评 青请 方访 者诸 正证 炎谈 射谢 羊详 成诚 寸讨 川训 上让 \
     午许 殳设 某谋 秀诱",
    ),
    ('纟', true, "工红 及级 会绘 合给 泉线 且组 从纵 少纱 田细 吉结 冬终 者绪 色绝 录绿"),
    ('钅', true, "戋钱 艮银 同铜 失铁 冈钢 昔错 竟镜 十针 中钟 令铃"),
    ('饣', true, "反饭 欠饮 官馆 交饺 包饱 我饿 并饼"),
    ('犭', true, "苗猫 句狗 者猪 侯猴 良狼 师狮 王狂 虫独 昔猎 瓜狐"),
    ('忄', true, "青情 生性 白怕 夬快 亡忙 曼慢 董懂 鬼愧 艮恨 俞愉 吾悟 每悔 隹惟 不怀"),
    ('礻', true, "申神 土社 兄祝 见视 畐福 且祖"),
    ('衤', true, "库裤 君裙 寸衬 由袖 皮被"),
    ('阝', true, "可阿 付附 完院 日阳 月阴 东陈 车阵 方防 示际"),
    ('阝', false, "者都 交郊 有郁 良郎"),
    ('艹', true, "化花 早草 采菜 央英 平苹 何荷 名茗 约药 牙芽 方芳 古苦"),
    ('疒', true, "丙病 甬痛 正症 风疯 知痴 皮疲 冬疼"),
    ('刂', false, "禾利 歹列 半判 害割 朵剁 杀刹 另别 至到 亥刻 戈划"),
    ('攵', false, "方放 正政 古故 求救 每敏 交效 贝败 苟敬"),
];

/// The side forms that Unicode has among its radicals (CJK Radicals Supplement), as those above.
const SIDE_FORMS: [(char, char); 11] = [
    ('⺡', '氵'),
    ('⺅', '亻'),
    ('⺘', '扌'),
    ('⻈', '讠'),
    ('⺰', '纟'),
    ('⻐', '钅'),
    ('⻠', '饣'),
    ('⺨', '犭'),
    ('⺖', '忄'),
    ('⺾', '艹'),
    ('⺉', '刂'),
];

fn side_form(c: char) -> char {
    SIDE_FORMS.iter().find(|(known, _)| *known == c).map_or(c, |(_, form)| *form)
}

/// Radicals of the table, in whatever form.
static RADICALS: LazyLock<Table<bool>> =
    LazyLock::new(|| Table::new(|c| HALVES.iter().any(|(radical, ..)| *radical == side_form(c))));

/// Whether this is a radical of the table, in whatever form.
pub(crate) fn is_radical(c: char) -> bool {
    RADICALS.get(c)
}

/// What two halves make.
fn whole(first: char, second: char) -> Option<char> {
    let (first, second) = (side_form(first), side_form(second));
    HALVES.iter().find_map(|(radical, leads, rests)| {
        let rest = if *leads && *radical == first {
            second
        } else if !leads && *radical == second {
            first
        } else {
            return None;
        };
        rests.split(' ').find_map(|pair| pair.strip_prefix(rest)?.chars().next())
    })
}

/// Characters that were written as two halves, as one.
pub(crate) fn halves(text: &str) -> Edits {
    let radicals = &*RADICALS;
    let mut edits = Edits::default();
    // Where the character before stands; a space for one that was a half.
    let (mut start, mut before) = (0, ' ');
    let mut after_radical = false;
    for (at, c) in text.char_indices() {
        let is_radical = radicals.get(c);
        let whole = if is_radical | after_radical { whole(before, c) } else { None };
        if let Some(whole) = whole {
            edits.replace_chars(start..at + c.len_utf8(), [whole]);
        }
        (start, before, after_radical) = match whole {
            Some(_) => (at, ' ', false),
            None => (at, c, is_radical),
        };
    }
    edits
}

/// Chinese characters as syllables of pinyin.
pub(crate) fn syllables(text: &str) -> Edits {
    let mut edits = Edits::default();
    for (at, c) in text.char_indices().filter(|(_, c)| is_han(*c)) {
        if let Some(syllable) = c.to_pinyin() {
            let plain = syllable.plain().chars().map(|c| if c == 'ü' { 'v' } else { c });
            edits.replace_chars(at..at + c.len_utf8(), plain);
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::view::View;

    /// As [`halves`], by trying all pairs.
    fn halves_plainly(text: &str) -> String {
        let mut made = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let whole = chars.peek().and_then(|next| whole(c, *next));
            made.push(whole.unwrap_or(c));
            if whole.is_some() {
                chars.next();
            }
        }
        made
    }

    proptest! {
        #[test]
        fn halves_are_found_among_all_pairs(text in "[亻⺅氵讠半每方尔你刂⺉攵去a 中]{0,12}") {
            let view = View::of(&text).edit(&halves(&text));
            prop_assert_eq!(view.text(), halves_plainly(&text));
        }
    }

    #[test]
    fn a_half_makes_one_character() {
        assert_eq!(View::of("亻半刂").edit(&halves("亻半刂")).text(), "伴刂");
    }

    #[test]
    fn traditional_characters_are_looked_up() {
        assert!(PAIRS.is_sorted_by_key(|(traditional, _)| *traditional));
        let table: HashMap<char, char> = PAIRS.iter().copied().collect();
        assert!(('\0'..=char::MAX).all(|c| SIMPLIFIED.get(c) == table.get(&c).copied()));
    }
}
