//! Classifier-free guidance (Ho and Salimans, 2022).

/// Goes from the answer without the text towards, and past, the one with it.
pub(crate) fn guide(without: &[f32], with: &[f32], scale: f32, rescale: f32, guided: &mut [f32]) {
    for ((guided, without), with) in guided.iter_mut().zip(without).zip(with) {
        *guided = without + scale * (with - without);
    }
    if rescale > 0.0 {
        // Lin et al., 2023, equations 15 and 16.
        let factor = deviation(with) / deviation(guided);
        guided.iter_mut().for_each(|value| *value = rescale * (*value * factor) + (1.0 - rescale) * *value);
    }
}

fn deviation(values: &[f32]) -> f32 {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let squares = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
    (squares / (count - 1.0)).sqrt() as f32
}

/// The guidance scale as a latent consistency model is told it (Luo et al., 2023): sines, then cosines.
pub(crate) fn embedding(scale: f32, width: usize) -> Vec<f32> {
    let half = width / 2;
    let step = 10_000.0_f32.ln() / (half.max(2) - 1) as f32;
    let angles: Vec<f32> = (0..half).map(|n| (scale - 1.0) * 1000.0 * (n as f32 * -step).exp()).collect();
    let mut embedding: Vec<f32> = angles.iter().map(|angle| angle.sin()).collect();
    embedding.extend(angles.iter().map(|angle| angle.cos()));
    embedding.resize(width, 0.0);
    embedding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guidance_moves_past_the_text() {
        let mut guided = [0.0; 2];
        guide(&[1.0, 2.0], &[2.0, 0.0], 3.0, 0.0, &mut guided);
        assert_eq!(guided, [4.0, -4.0]);
        guide(&[1.0, 2.0], &[2.0, 0.0], 3.0, 1.0, &mut guided);
        assert!((deviation(&guided) - deviation(&[2.0, 0.0])).abs() < 1e-6);
    }

    #[test]
    fn a_scale_of_one_is_no_angle() {
        assert_eq!(embedding(1.0, 5), [0.0, 0.0, 1.0, 1.0, 0.0]);
    }
}
