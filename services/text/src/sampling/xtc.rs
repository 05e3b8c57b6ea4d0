//! Exclude top choices (XTC, by p-e-w), as text-generation-webui and llama.cpp define it.

use super::warp::order;

/// Of the tokens that are at least this likely, all but the least likely (of equals the one of the highest id) go.
pub(super) fn exclude(kept: &mut Vec<(u32, f32)>, threshold: f32) {
    let total: f64 = kept.iter().map(|&(_, weight)| f64::from(weight)).sum();
    let is_top = |weight: f32| f64::from(weight) >= f64::from(threshold) * total;
    let least = kept.iter().filter(|&&(_, weight)| is_top(weight)).max_by(|one, other| order(one, other));
    if let Some(&(least, _)) = least {
        kept.retain(|&(token, weight)| token == least || !is_top(weight));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn one_of_the_top_and_all_others_stay(
            weights in prop::collection::vec((1_u8..20).prop_map(f32::from), 1..50), threshold in 0.01_f32..0.5,
        ) {
            let all: Vec<(u32, f32)> = (0..).zip(weights).collect();
            let mut kept = all.clone();
            exclude(&mut kept, threshold);
            let total: f32 = all.iter().map(|&(_, weight)| weight).sum();
            // Whole weights: no sum is rounded, and a margin keeps clear of the threshold itself.
            let top = |margin: f32| move |&&(_, weight): &&(u32, f32)| weight >= threshold * total * margin;
            prop_assert!(kept.iter().filter(top(1.0001)).count() <= 1);
            prop_assert_eq!(kept.iter().filter(top(0.9999)).count() > 0, all.iter().filter(top(0.9999)).count() > 0);
            let low = |list: &[(u32, f32)]| list.iter().filter(|&one| !top(0.9999)(&one)).count();
            prop_assert_eq!(low(&kept), low(&all));
        }
    }
}
