//! A token classifier, as those that recognise names: a folder as transformers and optimum write it for ONNX.
//!
//! `model.onnx` (or `onnx/model.onnx`) takes `input_ids` and `attention_mask`, and `token_type_ids` where the model has
//! them, and gives logits `[batch, tokens, labels]`; `config.json` names the labels, as `B-CITY` and `I-CITY` or as `CITY`;
//! `tokenizer.json` is the tokenizer. Which label means which category stands in the service's configuration. What is found
//! is a finding with the exact bytes; its score is the mean probability of its words.

mod entities;
mod tags;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use async_trait::async_trait;
use atelier_core::CategoryId;
use atelier_inference::{BatchModel, Batcher, InferenceError, Model, RunControl, Tensor};
use futures::{StreamExt, TryStreamExt, stream};
use ndarray::{Axis, Ix3};

use self::{
    entities::entities,
    tags::{Tag, Tags},
};
use super::{
    About, Detector, DetectorConfig, Kind, Loader, TextDetector,
    labels::rescaled,
    text_classifier::{GRAPHS, MAX_LENGTH},
    windows::{TokenInputs, unfit},
};
use crate::{
    call::Call,
    error::ModerationError,
    scores::{Finding, Measurement, NOTABLE},
    text::{Tokenizer, WindowShape},
};

pub(super) const KIND: Kind = Kind { name: "token-classifier", open };

/// The line of the default table that finds names and addresses.
///
/// # Errors
/// None: its names are valid.
pub(crate) fn names_and_addresses() -> Result<DetectorConfig, ModerationError> {
    use CategoryId::{PersonalDataAddress, PersonalDataName};
    let parts = ["BUILDING_NUMBER", "SECONDARY_ADDRESS", "CITY", "STATE", "ZIP_CODE"];
    let names = ["GIVEN_NAME", "SURNAME"].map(|label| (label, PersonalDataName));
    let addresses = parts.iter().chain(&["STREET_NAME"]).map(|label| (*label, PersonalDataAddress));
    let labels = names.into_iter().chain(addresses).map(|(label, category)| (label.to_owned(), category));
    Ok(DetectorConfig {
        labels: labels.collect(),
        supporting_labels: parts.map(str::to_owned).into_iter().collect::<BTreeSet<_>>(),
        on_request: true,
        ..DetectorConfig::new(&KIND, "rampart-pii")?
    })
}

struct Classifier {
    model: Model,
    inputs: TokenInputs,
    output: String,
    tags: Arc<Tags>,
}

struct Recogniser {
    about: Arc<About>,
    tags: Arc<Tags>,
    on_request: bool,
    tokenizer: Tokenizer,
    shape: WindowShape,
    batcher: Batcher<Classifier>,
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let folder = loader.folder(detector)?;
    let tags = Arc::new(Tags::read(&folder, detector)?);
    let graph = GRAPHS.into_iter().find(|graph| folder.has(graph)).unwrap_or(GRAPHS[0]);
    let settings = &loader.config.text;
    let tokenizer = Tokenizer::load(&folder.file("tokenizer.json")?, "", loader.config.blocking_jobs())?;
    let window = settings.window_tokens.min(tags.max_length.unwrap_or(MAX_LENGTH));
    let window = window.saturating_sub(tokenizer.frame().tokens());
    let shape = WindowShape::new(window, settings.overlap_tokens.min(window / 2))
        .ok_or_else(|| detector.refuse("text.window_tokens leaves no room for a text"))?;
    let load = |_| -> Result<_, ModerationError> {
        let model = Model::load_file(loader.runtime, &folder, graph, &loader.config.session)?;
        let inputs = TokenInputs::of(&model, &folder, tokenizer.padding())?;
        let output = model.outputs().first().map(|output| output.name.clone());
        let output = output.ok_or_else(|| unfit(&folder, "the graph has no output".to_owned()))?;
        Ok(Classifier { model, inputs, output, tags: Arc::clone(&tags) })
    };
    let models = (0..settings.instances.max(1)).map(load).collect::<Result<Vec<_>, _>>()?;
    // A label of metrics lives as long as the process, and so does a detector.
    let label: &'static str = folder.model().id.to_string().leak();
    let batcher = Batcher::start(label, &settings.batch, models)?;
    let about = About::of(&folder, tags.categories().iter().copied());
    let on_request = detector.on_request;
    Ok(Detector::Text(Arc::new(Recogniser {
        about: Arc::new(about),
        tags,
        on_request,
        tokenizer,
        shape,
        batcher,
    })))
}

impl std::fmt::Debug for Recogniser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recogniser").field("about", &self.about).finish_non_exhaustive()
    }
}

impl Recogniser {
    /// All that is found in a text, with its scores, and the windows that it was read in.
    async fn find(&self, text: &str, call: &Call) -> Result<(Vec<Finding>, u32), ModerationError> {
        let tokens = self.tokenizer.tokens(text).await?;
        let (frame, ids) = (self.tokenizer.frame(), tokens.ids());
        let windows: Vec<_> = self.shape.ranges(ids.len()).collect();
        let run = async |(window, kept): (Range<usize>, Range<usize>)| {
            let start = frame.head_tokens() + kept.start - window.start;
            let mut tags = call.submit(&self.batcher, frame.window(ids, window)).await?;
            Ok::<_, InferenceError>(tags.drain(start..start + kept.len()).collect::<Vec<_>>())
        };
        let runs = stream::iter(windows.iter().cloned().zip(kept(&windows))).map(run);
        let tags: Vec<Option<Tag>> = runs.buffered(call.width()).try_concat().await?;
        // What the vocabulary lacks looks alike, whatever it is: nothing can be told from it.
        let known = ids.iter().zip(tags).enumerate().map(|(n, (id, tag))| {
            let tag = tag.filter(|_| Some(*id) != self.tokenizer.unknown());
            (tokens.bytes(n..n + 1), tag)
        });
        let found = entities(text, known).into_iter().map(|entity| {
            let score = rescaled(entity.score, self.tags.threshold(entity.category));
            Finding::new(entity.category, score, entity.place, "entity")
        });
        Ok((found.collect(), windows.len() as u32))
    }
}

/// The tokens of each window that are read from it: of those that two windows share, each has the half that is further from
/// its end.
fn kept(windows: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    let middle = |(one, next): (&Range<usize>, &Range<usize>)| (next.start + one.end) / 2;
    (0..windows.len()).filter_map(move |n| {
        let window = windows.get(n)?;
        let before = n.checked_sub(1).and_then(|before| windows.get(before));
        let start = before.map_or(window.start, |before| middle((before, window)));
        let end = windows.get(n + 1).map_or(window.end, |next| middle((window, next)));
        Some(start..end)
    })
}

#[async_trait]
impl TextDetector for Recogniser {
    fn about(&self) -> Arc<About> {
        Arc::clone(&self.about)
    }

    fn on_request(&self) -> bool {
        self.on_request
    }

    /// Nobody disguises a name: what reads as something else when it is put differently is none.
    fn undoes_disguises(&self) -> bool {
        true
    }

    async fn personal(&self, text: &str, call: &Call) -> Result<Vec<Finding>, ModerationError> {
        let (mut found, _) = self.find(text, call).await?;
        found.retain(|finding| finding.score >= NOTABLE);
        Ok(found)
    }

    async fn measure(&self, text: &str, call: &Call) -> Result<Measurement, ModerationError> {
        let (found, windows) = self.find(text, call).await?;
        let mut measured = Measurement { windows, ..Measurement::nothing(self.tags.categories()) };
        for finding in found {
            if finding.score >= NOTABLE {
                measured.find(finding);
            } else {
                let scores = vec![(finding.category, finding.score)];
                measured.add(Measurement { scores, ..Measurement::default() });
            }
        }
        Ok(measured)
    }
}

impl BatchModel for Classifier {
    type Input = Vec<u32>;
    /// One for each token of the window.
    type Output = Vec<Option<Tag>>;

    fn cost(window: &Vec<u32>) -> usize {
        window.len()
    }

    fn run(
        &mut self,
        batch: &[Vec<u32>],
        control: &RunControl,
    ) -> Result<Vec<Vec<Option<Tag>>>, InferenceError> {
        let logits = self.model.run(&self.inputs.batch(batch), &[&self.output], control)?;
        let rows = logits.into_iter().next().map(Tensor::into_f32).transpose()?.unwrap_or_default();
        let wrong =
            || InferenceError::InvalidRun("the model wrote other scores than id2label names".to_owned());
        let rows = rows.into_dimensionality::<Ix3>().map_err(|_| wrong())?;
        let widest = batch.iter().map(Vec::len).max().unwrap_or(0);
        if rows.dim() != (batch.len(), widest, self.tags.width()) {
            return Err(wrong());
        }
        let of = |(window, row): (&Vec<u32>, ndarray::ArrayView2<'_, f32>)| {
            let tags = row.axis_iter(Axis(0)).take(window.len());
            tags.map(|logits| self.tags.tag(logits.iter().copied()).ok_or_else(wrong)).collect()
        };
        batch.iter().zip(rows.axis_iter(Axis(0))).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_token_is_read_from_one_window(
            content in 1_usize..64, overlap in 0_usize..64, tokens in 0_usize..2_000,
        ) {
            prop_assume!(overlap < content);
            let windows: Vec<_> = WindowShape::new(content, overlap).unwrap().ranges(tokens).collect();
            let kept: Vec<_> = kept(&windows).collect();
            prop_assert!(kept.iter().cloned().flatten().eq(0..tokens));
            let within = windows.iter().zip(&kept);
            prop_assert!(within.clone().all(|(whole, part)| whole.start <= part.start && part.end <= whole.end));
        }
    }
}
