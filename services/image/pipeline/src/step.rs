//! One step of several jobs: who can share a run does.

use atelier_inference::RunControl;

use crate::{
    Job, PipelineError,
    denoiser::{Role, Row},
    guidance::guide,
    pipeline::Pipeline,
};

/// Positions of latents that one run holds at most, as 8 pictures of 512 pixels with guidance do: activations grow with
/// them.
const POSITIONS: usize = 16 * 64 * 64;

/// Jobs that share runs, by their place among the jobs of a step.
fn groups(jobs: &[&mut Job]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, job) in jobs.iter().enumerate().filter(|(_, job)| !job.is_done()) {
        match groups.iter_mut().find(|group| jobs[group[0]].is_compatible(job)) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

impl Pipeline {
    /// One run of the denoiser for each job that is not done, and what the scheduler makes of it. Compatible jobs
    /// ([`Job::is_compatible`]) share a run, as do a job's pictures and the two sides of guidance, up to a bound on memory
    /// and unless the graph has a fixed number of rows.
    ///
    /// # Errors
    /// The run fails or is cancelled; jobs whose run had not succeeded are as they were.
    pub fn step(&mut self, jobs: &mut [&mut Job], control: &RunControl) -> Result<(), PipelineError> {
        for group in groups(jobs) {
            for &place in &group {
                let Job { scheduler, latents, input, .. } = &mut *jobs[place];
                scheduler.scale_input(latents, input);
            }
            let together: Vec<&Job> = group.iter().map(|&place| &*jobs[place]).collect();
            let answers = self.ask(&together, control)?;
            let mut answers = answers.as_slice();
            for place in group {
                let job = &mut *jobs[place];
                let (own, others) = answers.split_at(job.row_length() * job.pictures * job.branches.len());
                answers = others;
                take(job, own);
                job.advance();
            }
        }
        Ok(())
    }

    /// What the denoiser says of these jobs' rows, one after the other.
    fn ask(&mut self, jobs: &[&Job], control: &RunControl) -> Result<Vec<f32>, PipelineError> {
        let rows: Vec<Row<'_>> = jobs.iter().flat_map(|job| rows(job)).collect();
        let Some(&first) = jobs.first() else { return Ok(Vec::new()) };
        let (height, width) = first.size();
        let most = self.denoiser.fixed_rows().unwrap_or(POSITIONS / (height * width).max(1)).max(1);
        let row_length = first.row_length();
        let mut answers = Vec::new();
        let mut owners = jobs.iter().flat_map(|&job| job.rows().map(move |_| job));
        for rows in rows.chunks(most) {
            let owners: Vec<&Job> = owners.by_ref().take(rows.len()).collect();
            let residuals = self.residuals(rows, &owners, control)?;
            let mut answer = self.denoiser.run(rows, (height, width), &residuals, control)?;
            // Rows that only fill up a batch of fixed size say nothing.
            answer.truncate(rows.len() * row_length);
            if answer.len() != rows.len() * row_length {
                let problem = format!("the denoiser said {} numbers of {row_length} each", answer.len());
                return Err(atelier_inference::InferenceError::InvalidRun(problem).into());
            }
            if answers.is_empty() {
                answers = answer;
            } else {
                answers.extend(answer);
            }
        }
        Ok(answers)
    }

    /// What ControlNets say of these rows.
    fn residuals(
        &mut self,
        rows: &[Row<'_>],
        owners: &[&Job],
        control: &RunControl,
    ) -> Result<Vec<crate::denoiser::Residual>, PipelineError> {
        let Some(&first) = owners.first() else { return Ok(Vec::new()) };
        if !self.denoiser.reads(Role::Middle) && self.denoiser.down_inputs() == 0 {
            return Ok(Vec::new());
        }
        let batch = rows.len().max(self.denoiser.fixed_rows().unwrap_or(0));
        let mut residuals = self.control_nets.silence(batch, first.size());
        for net in 0..self.control_nets.len() {
            let scale = |job: &&Job| {
                let followed = job.controls.get(net).and_then(Option::as_ref);
                followed.map_or(0.0, |followed| followed.scale_at(job.step(), job.total_steps()))
            };
            let scales: Vec<f32> = owners.iter().map(scale).collect();
            if scales.iter().all(|&scale| scale == 0.0) {
                continue;
            }
            let controlled = rows.iter().zip(owners).map(|(row, job)| {
                let followed = job.controls.get(net).and_then(Option::as_ref);
                Row { control: followed.map_or(&[], |followed| &followed.planes), ..*row }
            });
            let controlled: Vec<Row<'_>> = controlled.collect();
            self.control_nets.add(net, &controlled, (first.size(), &scales), &mut residuals, control)?;
        }
        Ok(residuals)
    }
}

fn rows(job: &Job) -> impl Iterator<Item = Row<'_>> {
    let length = job.row_length();
    let beside = job.beside.len() / job.pictures;
    job.rows().map(move |id| {
        let branch = &job.branches[id.branch];
        Row {
            id,
            latents: &job.input[id.picture * length..(id.picture + 1) * length],
            beside: &job.beside[id.picture * beside..(id.picture + 1) * beside],
            timestep: job.scheduler.timestep().unwrap_or_default(),
            text: &branch.text,
            time_ids: &branch.time_ids,
            guidance: &job.guidance_embedding,
            style: branch.style,
            control: &[],
        }
    })
}

/// Puts the answers of a job's rows together.
fn take(job: &mut Job, answers: &[f32]) {
    let length = job.row_length();
    if job.branches.len() < 2 {
        job.output.copy_from_slice(answers);
        return;
    }
    let (without, with) = answers.split_at(length * job.pictures);
    let rows = without.chunks_exact(length).zip(with.chunks_exact(length));
    for ((without, with), guided) in rows.zip(job.output.chunks_exact_mut(length)) {
        guide(without, with, job.guidance_scale, job.guidance_rescale, guided);
    }
}
