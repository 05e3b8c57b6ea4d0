//! How a model writes.

use std::fs;

use atelier_client::proto::text::v1::{GenerationConfig, Priority, Truncation, generation_config::Format};
use clap::{Args, ValueEnum};

/// How the model writes; ranges are the gateway's to check, so that they stand in one place.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// Most tokens to write [default: 256]
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// Tokens to write before the answer may end at a token
    #[arg(long, value_name = "N")]
    min_tokens: Option<u32>,
    /// Tell how likely each token written was, and this many of the likeliest in its place; shown with --json
    #[arg(long, value_name = "N")]
    logprobs: Option<u32>,
    /// Write on past the model's own end tokens
    #[arg(long)]
    ignore_eos: bool,
    /// The same text for the same seed, whatever else runs
    #[arg(long)]
    deterministic: bool,
    /// Tokens to guess ahead where the text repeats itself, 0 to 16
    #[arg(long, value_name = "N")]
    lookahead: Option<u32>,
    /// Search for the likeliest answer with so many beams, up to 16
    #[arg(long, value_name = "N")]
    num_beams: Option<u32>,
    /// Favour long answers of the search, or short ones where negative; -2 to 2
    #[arg(long, value_name = "X", allow_negative_numbers = true, requires = "num_beams")]
    length_penalty: Option<f32>,
    /// Randomness, 0 to 2; 0 always takes the likeliest token
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Keep the k likeliest tokens; 0 keeps all
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probabilities reach p
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Keep tokens at least this share as likely as the likeliest one
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Keep the tokens that say nearest to what is expected of one, until their probabilities reach p
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    typical_p: Option<f32>,
    /// Leave out the top choices, but the least likely of them, with this probability for each token
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    xtc_probability: Option<f32>,
    /// How likely a top choice is, above 0 and up to 0.5 [default: 0.1]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    xtc_threshold: Option<f32>,
    /// Subtracted from the logits of tokens that would go on with a repeat (DRY), 0 to 100
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    dry_multiplier: Option<f32>,
    /// By how much each further token of a repeat multiplies that, 1 to 8 [default: 1.75]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    dry_base: Option<f32>,
    /// Tokens of the shortest repeat that is penalised [default: 2]
    #[arg(long, value_name = "N")]
    dry_allowed_length: Option<u32>,
    /// Hold the answer's mean surprise to this many bits (mirostat 2.0), in place of other filters
    #[arg(long, value_name = "BITS", allow_negative_numbers = true)]
    mirostat_tau: Option<f32>,
    /// How fast mirostat follows, above 0 and up to 1 [default: 0.1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    mirostat_eta: Option<f32>,
    /// Never write n tokens in a row that stood before; 0 lets them
    #[arg(long, value_name = "N")]
    no_repeat_ngram_size: Option<u32>,
    /// Divides the logits of tokens seen before, above 0 and up to 2
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// Subtracted from the logits of tokens written before, -2 to 2
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Subtracted from a token's logit for each time it was written, -2 to 2
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Answers to write, 1 to 8; more than one are shown when all are written
    #[arg(long, value_name = "N")]
    n: Option<u32>,
    /// Answers to try, of which the likeliest are given
    #[arg(long, value_name = "N")]
    best_of: Option<u32>,
    /// Same seed, same text
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// End at this token; may be repeated
    #[arg(long, value_name = "ID")]
    stop_token: Vec<u32>,
    /// How urgent the call is where others wait
    #[arg(long, value_enum)]
    priority: Option<PriorityArg>,
    /// JSON Schema that the answer keeps to; @FILE reads it
    #[arg(long, value_name = "SCHEMA", value_parser = text_or_file, group = "format")]
    json_schema: Option<String>,
    /// Regular expression that the whole answer matches
    #[arg(long, value_name = "REGEX", group = "format")]
    regex: Option<String>,
    /// Lark grammar that the answer keeps to; @FILE reads it
    #[arg(long, value_name = "GRAMMAR", value_parser = text_or_file, group = "format")]
    lark: Option<String>,
    /// What to leave out of a prompt that is too long [default: nothing, it is refused]
    #[arg(long, value_enum)]
    truncate: Option<TruncationArg>,
    /// Add to a token's logit, -100 to 100; may be repeated
    #[arg(long, value_name = "ID=BIAS", value_parser = logit_bias)]
    logit_bias: Vec<(u32, f32)>,
}

impl Sampling {
    pub(crate) fn config(&self) -> GenerationConfig {
        GenerationConfig {
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            logprobs: self.logprobs.is_some(),
            top_logprobs: self.logprobs,
            ignore_eos: self.ignore_eos,
            deterministic: self.deterministic,
            lookahead_tokens: self.lookahead,
            num_beams: self.num_beams,
            length_penalty: self.length_penalty,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            xtc_probability: self.xtc_probability,
            xtc_threshold: self.xtc_threshold,
            dry_multiplier: self.dry_multiplier,
            dry_base: self.dry_base,
            dry_allowed_length: self.dry_allowed_length,
            mirostat_tau: self.mirostat_tau,
            mirostat_eta: self.mirostat_eta,
            n: self.n,
            best_of: self.best_of,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.iter().copied().collect(),
            seed: self.seed,
            stop_sequences: self.stop.clone(),
            stop_token_ids: self.stop_token.clone(),
            truncation: self.truncate.map_or(Truncation::Unspecified, TruncationArg::truncation).into(),
            format: self.format(),
            priority: self.priority.map_or(Priority::Unspecified, PriorityArg::priority).into(),
        }
    }

    /// More than one answer is given or tried: they come when all are written.
    pub(crate) fn is_for_several(&self) -> bool {
        [self.n, self.best_of].into_iter().flatten().any(|number| number > 1)
    }

    /// The command line takes one of them.
    fn format(&self) -> Option<Format> {
        let json_schema = self.json_schema.clone().map(Format::JsonSchema);
        let regex = self.regex.clone().map(Format::Regex);
        json_schema.or(regex).or_else(|| self.lark.clone().map(Format::LarkGrammar))
    }
}

/// Which part of a prompt to leave out.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TruncationArg {
    /// The beginning; of a conversation the oldest turns
    Start,
    /// What is around the middle
    Middle,
    /// The end
    End,
}

impl TruncationArg {
    fn truncation(self) -> Truncation {
        match self {
            Self::Start => Truncation::Start,
            Self::Middle => Truncation::Middle,
            Self::End => Truncation::End,
        }
    }
}

/// How urgent a call is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PriorityArg {
    /// After everyone else's calls
    Low,
    /// As usual
    Normal,
    /// Before your other calls
    High,
}

impl PriorityArg {
    fn priority(self) -> Priority {
        match self {
            Self::Low => Priority::Low,
            Self::Normal => Priority::Normal,
            Self::High => Priority::High,
        }
    }
}

fn logit_bias(pair: &str) -> Result<(u32, f32), String> {
    let (id, bias) = pair.split_once('=').ok_or("expected ID=BIAS, e.g. 42=-100")?;
    let id = id.trim().parse().map_err(|_| format!("{id:?} is no token id"))?;
    let bias = bias.trim().parse().map_err(|_| format!("{bias:?} is no number"))?;
    Ok((id, bias))
}

/// `@FILE` is what stands in the file.
fn text_or_file(argument: &str) -> Result<String, String> {
    match argument.strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|error| format!("can't read {path}: {error}")),
        None => Ok(argument.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sampling: Sampling,
    }

    fn try_parse(line: &str) -> Result<GenerationConfig, clap::Error> {
        Line::try_parse_from(line.split_whitespace()).map(|line| line.sampling.config())
    }

    #[test]
    fn sampling_flags_reach_the_request_and_the_rest_is_left_out() {
        let line = "sampling --temperature 0 --top-p 0.9 --presence-penalty -1.5 --seed 18446744073709551615 \
                    --stop a --stop b --stop-token 2 --logit-bias 7=-100 --priority low --max-tokens 5 \
                    --min-tokens 2 --logprobs 3 --ignore-eos --typical-p 0.8 --no-repeat-ngram-size 3 --regex a+ --truncate middle \
                    --deterministic --lookahead 4 --num-beams 3 --length-penalty -0.5 \
                    --xtc-probability 0.5 --xtc-threshold 0.2 --dry-multiplier 0.8 --dry-base 1.5 --dry-allowed-length 3 \
                    --mirostat-tau 3 --mirostat-eta 0.2 --n 2 --best-of 4";
        let config = try_parse(line).expect("a good line");
        assert_eq!(
            config,
            GenerationConfig {
                temperature: Some(0.0),
                top_p: Some(0.9),
                presence_penalty: Some(-1.5),
                seed: Some(u64::MAX),
                stop_sequences: vec!["a".into(), "b".into()],
                stop_token_ids: vec![2],
                logit_bias: [(7, -100.0)].into(),
                max_tokens: Some(5),
                min_tokens: Some(2),
                logprobs: true,
                top_logprobs: Some(3),
                ignore_eos: true,
                deterministic: true,
                lookahead_tokens: Some(4),
                num_beams: Some(3),
                length_penalty: Some(-0.5),
                typical_p: Some(0.8),
                xtc_probability: Some(0.5),
                xtc_threshold: Some(0.2),
                dry_multiplier: Some(0.8),
                dry_base: Some(1.5),
                dry_allowed_length: Some(3),
                mirostat_tau: Some(3.0),
                mirostat_eta: Some(0.2),
                n: Some(2),
                best_of: Some(4),
                no_repeat_ngram_size: Some(3),
                priority: Priority::Low.into(),
                truncation: Truncation::Middle.into(),
                format: Some(Format::Regex("a+".into())),
                ..GenerationConfig::default()
            }
        );
    }

    #[test]
    fn a_schema_may_stand_in_a_file_and_only_one_format_be_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("schema.json");
        fs::write(&file, "{\"type\": \"object\"}").expect("a file");
        let config = try_parse(&format!("sampling --json-schema @{}", file.display())).expect("a good line");
        assert_eq!(config.format, Some(Format::JsonSchema("{\"type\": \"object\"}".into())));
        for line in ["sampling --lark @/no/such/file", "sampling --lark x --regex y"] {
            assert!(try_parse(line).is_err(), "{line:?}");
        }
    }
}
