//! A loaded language model: text in, a running generation out.

use std::{sync::Arc, time::Instant};

use atelier_core::{ModelRef, TenantId};
use atelier_inference::{
    Decoder, DecoderConfig, ModelFolder, Priority, Row, RunControl, Runtime, load_decoder,
};
use atelier_rpc::Workers;

use crate::{
    TextError,
    config::{GenerationConfig, ModelConfig},
    detokenize::Detokenizer,
    engine::{BeamSearch, CallWriter, Engine, Events, GenerationCall, Transcript},
    files::{GenerationFile, SamplingDefaults, TokenizerFile},
    grammar::{Format, Grammar, Grammars},
    sampling::{Dry, Sampling, TokenLogprob, is_breaker},
    score::Asked,
    stop::StopMatcher,
    template::{ChatTemplate, Message},
    tokens::{TextTokenizer, Truncated},
    tools::{CallReader, Choice, Syntax, Toolbox},
    truncation::{self, Cut, Truncation, room},
};

/// What is to be continued.
pub(crate) enum Prompt {
    /// A conversation, by the model's chat template. Special tokens in messages are plain text.
    Conversation(Chat),
    /// A raw prompt. Special tokens in it are what they say.
    Text(String),
}

/// A conversation and what may be called in it.
pub(crate) struct Chat {
    pub messages: Vec<Message>,
    /// `None`: the model is told of no tools.
    pub toolbox: Option<Toolbox>,
}

impl Chat {
    /// Calls that were made in it.
    fn calls(&self) -> usize {
        self.messages.iter().map(|message| message.calls.len()).sum()
    }
}

/// How an answer's calls are written and read.
struct Calling {
    syntax: Syntax,
    toolbox: Toolbox,
    /// Calls of the conversation before.
    before: usize,
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
    /// Tokens that may be guessed ahead.
    pub lookahead: usize,
    /// The answer is searched for.
    pub beams: Option<BeamSearch>,
    /// The call shares no run with others.
    pub deterministic: bool,
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
    /// What makes calls of an answer's text, where tools are offered.
    calls: Option<CallWriter>,
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
    /// Bytes of its KV cache when it is full.
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
        let GenerationConfig { slots, context_length, cache_tokens, ref engine } = config.generation;
        if let Some(tokens) = cache_tokens.filter(|&tokens| tokens < context_length) {
            let problem = format!("cache_tokens is {tokens}, less than context_length, {context_length}");
            return Err(TextError::Configuration(format!("models.{}.generation.{problem}", config.id)));
        }
        let decoder_config = DecoderConfig {
            slots: slots.saturating_add(engine.prefix_cache.slots),
            context_length,
            tokens: cache_tokens,
        };
        let mut decoder = load_decoder(runtime, folder, &decoder_config, &config.session)?;
        warm_up(&mut *decoder)?;
        let cache_bytes = decoder.cache_bytes();
        let engine = Engine::start(config.id.as_str(), engine, decoder)?;
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
        let calling = self.calling(&prompt)?;
        if calling.is_some() && options.beams.is_some() {
            return Err(TextError::invalid("generation.num_beams", "must not be set with tools"));
        }
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
        let (grammar, calls) = match (options.format.take(), calling) {
            (Some(format), _) => (Some(self.compile(format, caller.deadline, workers).await?), None),
            (None, Some(calling)) => {
                let (grammar, calls) =
                    self.compile_calls(calling, options.sampling.seed, caller.deadline, workers).await?;
                // Where n-grams may not repeat, a grammar could leave no token possible; a call that must be is checked for it.
                (grammar.filter(|_| options.sampling.no_repeat_ngram_size == 0), Some(calls))
            }
            (None, None) => (None, None),
        };
        let grammars = match grammar {
            Some(grammar) => copies(grammar, options.tries, caller.deadline, workers).await?,
            None => Vec::new(),
        };
        let echo = match echoed {
            Some(text) => Some(self.echo(text, &tokens, &options, &caller).await?),
            None => None,
        };
        Ok(Prepared { tokens, options, grammars, calls, caller, truncated_tokens, echo })
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
        let Prepared { tokens, options, grammars, calls, caller, .. } = call;
        let sampling = &options.sampling;
        let seed = sampling.seed.wrapping_add(number as u64);
        let writer = Transcript {
            detokenizer: Detokenizer::new(Arc::clone(&self.tokenizer), tokens),
            calls: calls.clone().map(|calls| CallWriter { seed, ..calls }),
            stop: StopMatcher::new(options.stop_sequences.clone()),
        };
        let mut stop_tokens = options.stop_tokens.clone();
        if !options.ignore_eos {
            stop_tokens.extend_from_slice(&self.end_tokens);
        }
        // Those that are not asked for say which tries are best.
        let ranked = (options.tries > options.answers).then_some(0);
        self.engine.submit(GenerationCall {
            prompt: tokens.clone(),
            sampling: Sampling {
                end_tokens: stop_tokens.clone(),
                dry: sampling.dry.clone().map(|dry| Dry { breakers: Arc::clone(&self.breakers), ..dry }),
                seed,
                ..sampling.clone()
            },
            max_tokens: options.max_tokens,
            stop_tokens,
            grammar: grammars.pop(),
            logprobs: options.logprobs.or(ranked),
            scored: Vec::new(),
            lookahead: options.lookahead,
            beams: options.beams,
            deterministic: options.deterministic,
            writer: Box::new(writer),
            tenant: caller.tenant.clone(),
            priority: options.priority,
            deadline: caller.deadline,
            arrived: caller.arrived,
        })
    }

    /// How the answer to a prompt calls, if it may.
    ///
    /// # Errors
    /// The prompt has tools or calls, and the model knows none, or its syntax is not known.
    fn calling(&self, prompt: &Prompt) -> Result<Option<Calling>, TextError> {
        let Prompt::Conversation(chat) = prompt else { return Ok(None) };
        let before = chat.calls();
        if chat.toolbox.is_none() && before == 0 {
            return Ok(None);
        }
        let unsupported = || TextError::TaskUnsupported { model: self.model.id.to_string(), task: "tools" };
        let syntax = self.template.as_ref().and_then(|template| template.syntax()).ok_or_else(unsupported)?;
        Ok(chat.toolbox.clone().map(|toolbox| Calling { syntax, toolbox, before }))
    }

    /// What an answer with calls keeps to, if anything, and what makes calls of its text.
    async fn compile_calls(
        &self,
        calling: Calling,
        seed: u64,
        deadline: Option<Instant>,
        workers: &Workers,
    ) -> Result<(Option<Grammar>, CallWriter), TextError> {
        let Calling { syntax, toolbox, before } = calling;
        let names = toolbox.offered().into_iter().map(|tool| tool.name.clone()).collect();
        let opener = self.tokenizer.special_id(syntax.opener()).map(|id| (id, syntax.opener()));
        let writer = CallWriter { reader: CallReader::new(syntax, names), opener, seed, before };
        let Some(grammars) = self.grammars.clone() else {
            return match toolbox.choice {
                Choice::Auto => Ok((None, writer)),
                Choice::Required | Choice::Named(_) => Err(self.without_formats()),
            };
        };
        let tokenizer = Arc::clone(&self.tokenizer);
        let compile = move || {
            let mark = |text: &str| match tokenizer.special_id(text) {
                Some(id) => format!("<[{id}]>"),
                None => format!("\"{text}\""),
            };
            grammars.compile_calls(syntax, &toolbox, mark)
        };
        Ok((workers.run(deadline, compile).await?, writer))
    }

    fn without_formats(&self) -> TextError {
        TextError::TaskUnsupported { model: self.model.id.to_string(), task: "formats" }
    }

    async fn compile(
        &self,
        format: Format,
        deadline: Option<Instant>,
        workers: &Workers,
    ) -> Result<Grammar, TextError> {
        let grammars = Arc::clone(self.grammars.as_ref().ok_or_else(|| self.without_formats())?);
        workers.run(deadline, move || grammars.compile(format)).await
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
            Prompt::Conversation(Chat { messages, toolbox }) => {
                let template = self.template.clone().ok_or_else(|| TextError::TaskUnsupported {
                    model: self.model.id.to_string(),
                    task: "chat",
                })?;
                let tools = toolbox.map_or_else(|| Vec::new().into(), |toolbox| toolbox.tools);
                let encode = move || {
                    let encode = |messages: &[Message]| template.encode(messages, &tools, &tokenizer);
                    match within {
                        Some((cut, keep)) => truncation::fit(messages, keep, cut, &tokenizer, encode),
                        None => encode(&messages).map(whole),
                    }
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

/// A grammar for each try.
async fn copies(
    grammar: Grammar,
    tries: usize,
    deadline: Option<Instant>,
    workers: &Workers,
) -> Result<Vec<Grammar>, TextError> {
    let copy = move || {
        let copies: Vec<_> = (1..tries).map(|_| grammar.copy()).collect();
        Ok(copies.into_iter().chain([grammar]).collect())
    };
    workers.run(deadline, copy).await
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
