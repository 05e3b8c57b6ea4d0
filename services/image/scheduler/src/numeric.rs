//! The few functions of NumPy and torch that schedules are made with, rounding as they do.

/// `numpy.linspace(start, stop, count)`.
pub(crate) fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = (stop - start) / count.saturating_sub(1).max(1) as f64;
    let mut values: Vec<f64> = (0..count).map(|n| n as f64 * step + start).collect();
    if count > 1 {
        values[count - 1] = stop;
    }
    values
}

/// `torch.linspace` in `f32`: from both ends to the middle.
pub(crate) fn linspace_f32(start: f32, end: f32, count: usize) -> Vec<f32> {
    let step = (end - start) / count.saturating_sub(1).max(1) as f32;
    let value = |n: usize| {
        if n < count / 2 { start + step * n as f32 } else { end - step * (count - n - 1) as f32 }
    };
    (0..count).map(value).collect()
}

/// `numpy.arange(start, 0, -step)`.
pub(crate) fn descending(start: f64, step: f64) -> Vec<f64> {
    let delta = (start - step) - start;
    (0..(start / step).ceil() as usize).map(|n| start + n as f64 * delta).collect()
}

/// `numpy.interp(at, 0..values.len(), values)`.
pub(crate) fn interpolate(at: f64, values: &[f32]) -> f64 {
    let last = values.len() - 1;
    let low = at.clamp(0.0, last as f64).floor() as usize;
    if low == last {
        return f64::from(values[last]);
    }
    let (left, right) = (f64::from(values[low]), f64::from(values[low + 1]));
    (right - left) * (at.max(0.0) - low as f64) + left
}

/// `torch.quantile` of the absolute values, interpolated linearly.
pub(crate) fn quantile_abs(values: &[f32], share: f64) -> f32 {
    let mut sorted: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let rank = share.clamp(0.0, 1.0) as f32 * last as f32;
    let (low, weight) = (rank.floor() as usize, rank - rank.floor());
    let (below, above) = (sorted[low], sorted[(low + 1).min(last)]);
    below + weight * (above - below)
}

/// Solves `matrix * x = right` of at most three unknowns by elimination with pivoting.
pub(crate) fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))
            .unwrap_or(column);
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let pivot = matrix[column].clone();
        for row in column + 1..size {
            let factor = matrix[row][column] / pivot[column];
            matrix[row].iter_mut().zip(&pivot).for_each(|(value, pivot)| *value -= factor * pivot);
            right[row] -= factor * right[column];
        }
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|n| matrix[row][n] * right[n]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_should() {
        assert_eq!(linspace(0.0, 999.0, 4), [0.0, 333.0, 666.0, 999.0]);
        assert_eq!(linspace(5.0, 9.0, 1), [5.0]);
        assert_eq!(linspace_f32(1.0, 2.0, 3), [1.0, 1.5, 2.0]);
        assert_eq!(descending(1000.0, 250.0), [1000.0, 750.0, 500.0, 250.0]);
    }

    #[test]
    fn values_between_are_interpolated() {
        let values = [0.0, 10.0, 40.0];
        assert_eq!(interpolate(0.5, &values), 5.0);
        assert_eq!(interpolate(1.5, &values), 25.0);
        assert_eq!((interpolate(-1.0, &values), interpolate(9.0, &values)), (0.0, 40.0));
        assert_eq!(quantile_abs(&[-4.0, 1.0, 2.0], 0.75), 3.0);
    }

    #[test]
    fn small_systems_are_solved() {
        let solved = solve(vec![vec![0.0, 2.0], vec![1.0, 1.0]], vec![4.0, 5.0]);
        assert_eq!(solved, [3.0, 2.0]);
    }
}
