//! The text of a reference: written out, or as tokens of CLIP.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context as _, bail};

use crate::numbers::Numbers;

/// Characters that stand for bytes which are no printable ones, from 256 on (GPT-2's `bytes_to_unicode`).
const SHIFT: u32 = 256;

/// The text under one of two names: `ids` as tokens, `text` as UTF-8 bytes.
pub(crate) fn of(
    files: &[Option<&Numbers>],
    (ids, text): (&str, &str),
    model: &Path,
) -> anyhow::Result<String> {
    for file in files.iter().flatten() {
        if let Ok(text) = file.text(text) {
            return Ok(text);
        }
        if let Ok(ids) = file.whole(ids) {
            return spelled(&ids, model);
        }
    }
    bail!("there is neither {ids} nor {text}")
}

/// The text that a CLIP tokenizer made these tokens of, as far as tokens tell: in lower case, words apart.
fn spelled(ids: &[i64], model: &Path) -> anyhow::Result<String> {
    let file = ["tokenizer", "tokenizer_2"].map(|part| model.join(part).join("vocab.json"));
    let file = file.into_iter().find(|file| file.is_file()).context("the model has no vocab.json")?;
    let vocabulary: HashMap<String, i64> = serde_json::from_str(&fs::read_to_string(file)?)?;
    let tokens: HashMap<i64, String> = vocabulary.into_iter().map(|(token, id)| (id, token)).collect();
    let mut text = String::new();
    // The first token is the start; the end comes again as padding, or is followed by another one.
    for id in ids.iter().skip(1) {
        let token = tokens.get(id).with_context(|| format!("token {id} is not in the vocabulary"))?;
        if token == "<|endoftext|>" {
            break;
        }
        text.push_str(&token.replace("</w>", " "));
    }
    let bytes: Vec<u8> = text.chars().map(|c| if c == ' ' { b' ' } else { byte(c) }).collect();
    // Brackets and backslashes mean something in our prompts.
    let escape = |c: char| if "()[]\\".contains(c) { format!("\\{c}") } else { c.to_string() };
    Ok(String::from_utf8_lossy(&bytes).trim().chars().map(escape).collect())
}

/// The byte that a character of a byte-level vocabulary stands for.
fn byte(character: char) -> u8 {
    let is_printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let code = u32::from(character);
    if code < SHIFT {
        return code as u8;
    }
    let others = (0..=u8::MAX).filter(|byte| !is_printable(*byte));
    others.into_iter().nth((code - SHIFT) as usize).unwrap_or(b'?')
}
