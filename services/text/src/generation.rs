//! A loaded language model: text in, a running generation out.

use std::{sync::Arc, time::Instant};

use atelier_core::{ModelRef, TenantId};
use atelier_inference::{
    Decoder, DecoderConfig, ModelFolder, Priority, Row, RunControl, Runtime, load_decoder,
};
use atelier_rpc::Workers;

use crate::{
    TextError,
    config::ModelConfig,
    detokenize::Detokenizer,
    engine::{Engine, Events, GenerationCall, Transcript},
    files::{GenerationFile, SamplingDefaults, TokenizerFile},
    grammar::{Format, Grammar, Grammars},
    sampling::{Dry, Sampling, TokenLogprob, is_breaker},
    score::Asked,
    stop::StopMatcher,
    template::{ChatTemplate, Message},
    tokens::{TextTokenizer, Truncated},
    truncation::{self, Cut, Truncation, room},
};

/// What is to be continued.
pub(crate) enum Prompt {
    /// A conversation, by the model's chat template. Special tokens in messages are plain text.
    Conversation(Vec<Message>),
    /// A raw prompt. Special tokens in it are what they say.
    Text(String),
}

impl Prompt {
    /// The request's field that holds it.
    fn field(&self) -> &'static str {
        match self {
            Self::Conversation(_) => "messages",
            Self::Text(_) => "prompt",
        }
    }
}

/// How a call writes; everything is checked and filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to write, 1 or more.
    pub max_tokens: usize,
    /// What is done with a prompt that leaves the answer too little room.
    pub truncation: Truncation,
    /// What the answer keeps to.
    pub format: Option<Format>,
    /// Likeliest tokens told beside each token written, and how likely all of them were; `None`: nothing of it is told.
    pub logprobs: Option<usize>,
    /// The model's own end tokens do not end the answer.
    pub ignore_eos: bool,
    /// The answer ends before the first of these.
    pub stop_sequences: Vec<Arc<str>>,
    /// The answer ends at the first of these, beside the model's own.
    pub stop_tokens: Vec<u32>,
    /// How urgent the call is.
    pub priority: Priority,
    /// Answers that are given, 1 or more.
    pub answers: usize,
    /// Answers that are written, `answers` or more.
    pub tries: usize,
    /// The answers begin with the prompt.
    pub echo: bool,
}

/// A call that can be submitted, once for each of its tries.
pub(crate) struct Prepared {
    /// Of the prompt.
    tokens: Vec<u32>,
    pub options: Options,
    /// One for each try that is not submitted yet.
    grammars: Vec<Grammar>,
    caller: Caller,
    /// Tokens of the prompt that were left out.
    pub truncated_tokens: usize,
    pub echo: Option<Echo>,
}

/// What answers begin with.
pub(crate) struct Echo {
    /// The prompt.
    pub text: String,
    /// How likely its tokens are but the first, if that is asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Those of them whose KV rows were there before they were scored, if they were.
    pub cached_tokens: Option<usize>,
}

/// Who calls, since when and until when.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Who is served in turn.
    pub tenant: TenantId,
    /// When the call came.
    pub arrived: Instant,
    /// When it ends, done or not.
    pub deadline: Option<Instant>,
}

/// A model that writes.
pub(crate) struct GenerationModel {
    /// Name and revision.
    pub model: ModelRef,
    /// SPDX identifier of its licence, or empty.
    pub license: String,
    tokenizer: Arc<TextTokenizer>,
    template: Option<Arc<ChatTemplate>>,
    defaults: SamplingDefaults,
    end_tokens: Vec<u32>,
    /// Tokens that a repeat does not reach over, ascending.
    breakers: Arc<[u32]>,
    /// Bytes of its KV cache when every slot is full.
    pub cache_bytes: usize,
    /// None for a model without end tokens, which could not end a sentence.
    grammars: Option<Arc<Grammars>>,
    engine: Engine,
}

impl GenerationModel {
    /// Loads a model and runs it once, so that the first call finds memory and kernels in place.
    ///
    /// # Errors
    /// A file is missing, broken or of a kind that can't be served.
    pub(crate) fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        config: &ModelConfig,
    ) -> Result<Self, TextError> {
        let tokenizer = Arc::new(TextTokenizer::load(&folder.file("tokenizer.json")?)?);
        let file = GenerationFile::read(folder)?;
        let tokenizer_file = TokenizerFile::read(folder)?;
        let named = tokenizer_file.named_tokens(&file, &tokenizer);
        let end_tokens = file.end_tokens(&named, &tokenizer);
        let template = tokenizer_file.template(folder, named)?.map(Arc::new);
        let decoder_config = DecoderConfig {
            slots: config.generation.slots.saturating_add(config.generation.engine.prefix_cache.slots),
            context_length: config.generation.context_length,
        };
        let mut decoder = load_decoder(runtime, folder, &decoder_config, &config.session)?;
        warm_up(&mut *decoder)?;
        let cache_bytes = decoder.cache_bytes();
        let engine = Engine::start(config.id.as_str(), &config.generation.engine, decoder)?;
        Ok(Self {
            model: ModelRef { id: config.id.clone(), revision: folder.model().revision.clone() },
            license: folder.license().to_owned(),
            grammars: match end_tokens.is_empty() {
                true => None,
                false => Some(Arc::new(Grammars::new(&tokenizer, &end_tokens)?)),
            },
            breakers: breakers(&tokenizer),
            tokenizer,
            template,
            defaults: file.sampling()?,
            end_tokens,
            cache_bytes,
            engine,
        })
    }

    /// Its tokenizer.
    #[must_use]
    pub(crate) fn tokenizer(&self) -> &Arc<TextTokenizer> {
        &self.tokenizer
    }

    /// How it writes where a call does not say.
    #[must_use]
    pub(crate) fn defaults(&self) -> &SamplingDefaults {
        &self.defaults
    }

    /// Most tokens of prompt and answer together.
    #[must_use]
    pub(crate) fn context_length(&self) -> usize {
        self.engine.context_length()
    }

    /// The engine that runs it.
    #[must_use]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Tokenizes a prompt and compiles the format; scores the prompt where it is echoed with log-probabilities.
    ///
    /// # Errors
    /// The prompt does not fit, the template refuses the conversation, the format is none, or the prompt can't be scored.
    pub(crate) async fn prepare(
        &self,
        prompt: Prompt,
        mut options: Options,
        caller: Caller,
        workers: &Workers,
    ) -> Result<Prepared, TextError> {
        let field = prompt.field();
        let keep = room(self.context_length(), options.max_tokens);
        let read = match options.truncation {
            Truncation::Refuse => None,
            Truncation::Cut(cut) => Some((cut, keep)),
        };
        let echoed = match &prompt {
            Prompt::Text(text) if options.echo => Some(text.clone()),
            Prompt::Text(_) | Prompt::Conversation(_) => None,
        };
        let Truncated { ids: tokens, full_length } =
            self.tokenize(prompt, read, caller.deadline, workers).await?;
        let truncated_tokens = full_length.saturating_sub(tokens.len());
        if tokens.is_empty() {
            return Err(TextError::invalid(field, "must have at least one token"));
        }
        // One place is the answer's.
        let limit = self.context_length().saturating_sub(1);
        if tokens.len() > limit {
            return Err(TextError::ContextLengthExceeded {
                field: field.to_owned(),
                tokens: tokens.len(),
                limit,
            });
        }
        let grammars = match options.format.take() {
            Some(format) => self.compile(format, options.tries, caller.deadline, workers).await?,
            None => Vec::new(),
        };
        let echo = match echoed {
            Some(text) => Some(self.echo(text, &tokens, &options, &caller).await?),
            None => None,
        };
        Ok(Prepared { tokens, options, grammars, caller, truncated_tokens, echo })
    }

    async fn echo(
        &self,
        text: String,
        tokens: &[u32],
        options: &Options,
        caller: &Caller,
    ) -> Result<Echo, TextError> {
        match (options.logprobs, tokens) {
            (Some(top), [before @ .., _]) if !before.is_empty() => {
                let asked = Asked { scored: tokens[1..].to_vec(), top, priority: options.priority };
                let finished = self.score_tokens(before.to_vec(), asked, caller.clone()).await?;
                let cached_tokens = Some(finished.cached_tokens);
                Ok(Echo { text, logprobs: finished.logprobs, cached_tokens })
            }
            _ => Ok(Echo { text, logprobs: Vec::new(), cached_tokens: None }),
        }
    }

    /// Queues a try of a call, each once.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn submit(&self, call: &mut Prepared, number: usize) -> Result<Events, TextError> {
        let Prepared { tokens, options, grammars, caller, .. } = call;
        let writer = Transcript {
            detokenizer: Detokenizer::new(Arc::clone(&self.tokenizer), tokens),
            stop: StopMatcher::new(options.stop_sequences.clone()),
        };
        let mut stop_tokens = options.stop_tokens.clone();
        if !options.ignore_eos {
            stop_tokens.extend_from_slice(&self.end_tokens);
        }
        let sampling = &options.sampling;
        // Those that are not asked for say which tries are best.
        let ranked = (options.tries > options.answers).then_some(0);
        self.engine.submit(GenerationCall {
            prompt: tokens.clone(),
            sampling: Sampling {
                end_tokens: stop_tokens.clone(),
                dry: sampling.dry.clone().map(|dry| Dry { breakers: Arc::clone(&self.breakers), ..dry }),
                seed: sampling.seed.wrapping_add(number as u64),
                ..sampling.clone()
            },
            max_tokens: options.max_tokens,
            stop_tokens,
            grammar: grammars.pop(),
            logprobs: options.logprobs.or(ranked),
            scored: Vec::new(),
            writer: Box::new(writer),
            tenant: caller.tenant.clone(),
            priority: options.priority,
            deadline: caller.deadline,
            arrived: caller.arrived,
        })
    }

    /// A grammar for each try.
    async fn compile(
        &self,
        format: Format,
        tries: usize,
        deadline: Option<Instant>,
        workers: &Workers,
    ) -> Result<Vec<Grammar>, TextError> {
        let unsupported = || TextError::TaskUnsupported { model: self.model.id.to_string(), task: "formats" };
        let grammars = Arc::clone(self.grammars.as_ref().ok_or_else(unsupported)?);
        let compile = move || {
            let grammar = grammars.compile(format)?;
            let copies: Vec<_> = (1..tries).map(|_| grammar.copy()).collect();
            Ok(copies.into_iter().chain([grammar]).collect())
        };
        workers.run(deadline, compile).await
    }

    /// `within`: which part of it is left out, and how many tokens are kept.
    async fn tokenize(
        &self,
        prompt: Prompt,
        within: Option<(Cut, usize)>,
        deadline: Option<Instant>,
        workers: &Workers,
    ) -> Result<Truncated, TextError> {
        let tokenizer = Arc::clone(&self.tokenizer);
        let whole = |ids: Vec<u32>| Truncated { full_length: ids.len(), ids };
        match prompt {
            Prompt::Text(text) => {
                let encode = move || match within {
                    Some((cut, keep)) => tokenizer.encode_truncated(&text, keep, cut),
                    None => tokenizer.encode(&text, true).map(whole),
                };
                workers.run(deadline, encode).await
            }
            Prompt::Conversation(messages) => {
                let template = self.template.clone().ok_or_else(|| TextError::TaskUnsupported {
                    model: self.model.id.to_string(),
                    task: "chat",
                })?;
                let encode = move || match within {
                    Some((cut, keep)) => {
                        let encode = |messages: &[Message]| template.encode(messages, &tokenizer);
                        truncation::fit(messages, keep, cut, &tokenizer, encode)
                    }
                    None => template.encode(&messages, &tokenizer).map(whole),
                };
                workers.run(deadline, encode).await
            }
        }
    }
}

/// The tokens of a vocabulary that DRY does not look over.
fn breakers(tokenizer: &TextTokenizer) -> Arc<[u32]> {
    let ids = 0..u32::try_from(tokenizer.vocabulary_size()).unwrap_or(u32::MAX);
    ids.filter(|&id| is_breaker(&tokenizer.token_bytes(id, None))).collect()
}

/// Runs a short prompt and a decode step.
fn warm_up(decoder: &mut dyn Decoder) -> Result<(), TextError> {
    let prompt = [0; 8];
    let length = prompt.len().min(decoder.context_length().saturating_sub(1));
    let control = RunControl::new();
    decoder.step(&[Row { slot: 0, tokens: &prompt[..length], position: 0, logits: 1 }], &control)?;
    decoder.step(&[Row { slot: 0, tokens: &[0], position: length, logits: 1 }], &control)?;
    Ok(())
}
