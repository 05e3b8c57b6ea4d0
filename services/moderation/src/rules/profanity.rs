//! Swear words of English and Chinese, for tenants that do not switch them off. Slurs against groups are no part of it: those are
//! for the models, which see how they are used, and for lists of one's own.

use atelier_normalise::skeleton;
use atelier_rules::{Matching, Term};

/// How certain a word of each list is, as a score, and the words. Whole words only; disguises are undone before they are
/// compared.
pub(super) const WORDS: [(f32, &str); 2] = [(0.9, STRONG), (0.6, MILD)];

const STRONG: &str = "
    fuck fucks fucked fucker fuckers fucking fuckin fuckface fuckwit fuckup fuckhead clusterfuck motherfuck motherfucker
    motherfuckers motherfucking mindfuck unfuckingbelievable shit shits shitty shitting shithead shithole shitface shitshow bullshit
    horseshit dipshit cunt cunts asshole assholes arsehole arseholes dickhead dickheads cocksucker cocksuckers twat twats wanker
    wankers bitch bitches bitching bastard bastards whore whores slut sluts stfu gtfo wtf
    傻逼 傻屄 煞笔 操你 操你妈 肏你 草泥马 你妈逼 妈逼 去你妈 去你妈的 他妈的 你妈的 特么的 妈了个逼 装逼 傻吊 狗日的 日你妈 干你娘
    王八蛋 狗杂种 杂种 婊子 臭婊子 骚货 贱货 贱人 滚蛋 狗屁 混账东西
";

const MILD: &str = "
    damn damned dammit goddamn crap crappy arse piss pissed prick pricks dick bollocks bugger wank tits douchebag douche
    jackass dumbass smartass
    妈的 混蛋 该死 屁话 卧槽 我靠 我操 我草 操蛋 扯淡 他妈 特么 尼玛
";

/// The words of a list as terms.
pub(super) fn terms(words: &str, tag: u32) -> impl Iterator<Item = Term> {
    let term = move |word: &str| Term {
        text: skeleton(word).text().to_owned(),
        tag,
        matching: Matching::Word,
        allow: false,
    };
    words.split_whitespace().map(term)
}
