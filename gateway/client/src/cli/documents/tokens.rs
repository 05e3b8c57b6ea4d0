//! How likely tokens are.

use atelier_client::proto::text::v1::{Alternative as WireAlternative, TokenLogprob as WireTokenLogprob};
use serde::Serialize;

/// A token that was written.
#[derive(Debug, Serialize)]
pub(crate) struct TokenLogprob {
    #[serde(flatten)]
    token: Alternative,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top: Vec<Alternative>,
}

/// A token that might have been.
#[derive(Debug, Serialize)]
struct Alternative {
    token_id: u32,
    /// Where a token is part of a character, U+FFFD stands for it.
    text: String,
    logprob: f32,
}

impl From<WireAlternative> for Alternative {
    fn from(token: WireAlternative) -> Self {
        let WireAlternative { token_id, text, logprob } = token;
        Self { token_id, text: String::from_utf8_lossy(&text).into_owned(), logprob }
    }
}

impl From<WireTokenLogprob> for TokenLogprob {
    fn from(token: WireTokenLogprob) -> Self {
        let WireTokenLogprob { token_id, text, logprob, top } = token;
        Self {
            token: WireAlternative { token_id, text, logprob }.into(),
            top: top.into_iter().map(Into::into).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_written_like_this() {
        let token = WireTokenLogprob {
            token_id: 7,
            text: b" a".to_vec(),
            logprob: -0.5,
            top: vec![WireAlternative { token_id: 8, text: vec![0xC3], logprob: -0.25 }],
        };
        let written = serde_json::to_value(TokenLogprob::from(token)).expect("plain data");
        let expected = serde_json::json!({
            "token_id": 7,
            "text": " a",
            "logprob": -0.5,
            "top": [{"token_id": 8, "text": "\u{fffd}", "logprob": -0.25}]
        });
        assert_eq!(written, expected);
    }
}
