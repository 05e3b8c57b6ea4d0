//! Graphs that answer row by row: one array in, some arrays out, many callers' rows in one run.

use atelier_core::TenantId;
use atelier_inference::{
    BatchModel, Batcher, BatcherConfig, InferenceError, Model, ModelFolder, RunControl, Runtime,
    SessionConfig, Tensor, Ticket,
};
use ndarray::{ArrayD, Axis, IxDyn};

use crate::ImageError;

/// A graph behind a bounded queue. Rows and answers are without the batch axis.
pub(crate) type Rows = Batcher<RowGraph>;

/// A graph with one f32 input `[batch, ...]` and f32 outputs `[batch, ...]`.
pub(crate) struct RowGraph {
    model: Model,
    input: String,
    outputs: Vec<String>,
}

/// How a graph is loaded.
pub(crate) struct RowsLoader<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) folder: &'a ModelFolder,
    pub(crate) session: &'a SessionConfig,
    pub(crate) batcher: &'a BatcherConfig,
}

impl RowsLoader<'_> {
    /// Loads a graph of the folder, whose only input has this name and which has these outputs.
    ///
    /// # Errors
    /// The file is missing or altered, or the graph has other inputs or outputs.
    pub(crate) fn load(&self, file: &str, input: &str, outputs: &[&str]) -> Result<Rows, ImageError> {
        let model = Model::load_file(self.runtime, self.folder, file, self.session)?;
        let only = model.inputs().len() == 1 && model.inputs()[0].name == input;
        let missing = outputs.iter().find(|name| model.outputs().iter().all(|port| port.name != **name));
        if !only {
            let problem = format!("{file} must have one input, {input:?}");
            return Err(ImageError::folder(self.folder.id(), problem));
        }
        if let Some(name) = missing {
            return Err(ImageError::folder(self.folder.id(), format!("{file} has no output {name:?}")));
        }
        let outputs = outputs.iter().map(|&name| name.to_owned()).collect();
        let graph = RowGraph { model, input: input.to_owned(), outputs };
        // A label of metrics must live as long as the process, and so does a loaded model.
        let label: &'static str = format!("{}/{file}", self.folder.id()).leak();
        Ok(Batcher::start(label, self.batcher, vec![graph])?)
    }
}

impl RowGraph {
    fn run_alike(
        &mut self,
        rows: &[&ArrayD<f32>],
        control: &RunControl,
    ) -> Result<Vec<Vec<ArrayD<f32>>>, InferenceError> {
        let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
        let shape = |error: ndarray::ShapeError| InferenceError::InvalidRun(error.to_string());
        let batch = ndarray::stack(Axis(0), &views).map_err(shape)?;
        let names: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        let results = self.model.run(&[(self.input.as_str(), Tensor::from(batch))], &names, control)?;
        let mut answers = vec![Vec::with_capacity(names.len()); rows.len()];
        for result in results {
            let result = result.into_f32()?;
            if result.ndim() == 0 || result.len_of(Axis(0)) != rows.len() {
                let problem = format!("{} rows answered with {:?}", rows.len(), result.shape());
                return Err(InferenceError::InvalidRun(problem));
            }
            for (answer, row) in answers.iter_mut().zip(result.outer_iter()) {
                answer.push(row.to_owned());
            }
        }
        Ok(answers)
    }
}

impl BatchModel for RowGraph {
    type Input = ArrayD<f32>;
    /// In the order of the outputs asked for.
    type Output = Vec<ArrayD<f32>>;

    fn cost(_: &ArrayD<f32>) -> usize {
        1
    }

    fn run(
        &mut self,
        batch: &[ArrayD<f32>],
        control: &RunControl,
    ) -> Result<Vec<Vec<ArrayD<f32>>>, InferenceError> {
        let mut answers: Vec<Vec<ArrayD<f32>>> = vec![Vec::new(); batch.len()];
        let mut open: Vec<usize> = (0..batch.len()).collect();
        // Rows of one shape go through one run.
        while let Some(&first) = open.first() {
            let (alike, rest) = open.iter().partition(|&&n| batch[n].shape() == batch[first].shape());
            open = rest;
            let alike: Vec<usize> = alike;
            let rows: Vec<_> = alike.iter().map(|&n| &batch[n]).collect();
            for (n, answer) in alike.iter().zip(self.run_alike(&rows, control)?) {
                answers[*n] = answer;
            }
        }
        Ok(answers)
    }
}

/// A row of numbers.
pub(crate) fn row(values: Vec<f32>) -> ArrayD<f32> {
    let length = values.len();
    ArrayD::from_shape_vec(IxDyn(&[length]), values).unwrap_or_default()
}

/// Asks for several rows at once; the answers in their order.
///
/// # Errors
/// As [`Batcher::submit`].
pub(crate) async fn submit_all(
    rows: &Rows,
    inputs: Vec<ArrayD<f32>>,
    ticket: &Ticket,
) -> Result<Vec<Vec<ArrayD<f32>>>, ImageError> {
    let asked = inputs.into_iter().map(|input| rows.submit(input, ticket.clone()));
    Ok(futures::future::try_join_all(asked).await?)
}

/// A ticket for work on nobody's account: warming up.
pub(crate) fn own_ticket() -> Ticket {
    Ticket { deadline: None, tenant: TenantId::default_tenant() }
}
