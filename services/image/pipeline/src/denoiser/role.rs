//! What the inputs of a denoiser mean, by the names that exporters give them.

/// An input of a UNet, a transformer or a ControlNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Latents, as the scheduler scales them.
    Sample,
    /// The time of the run.
    Timestep,
    /// Vectors of the text's tokens.
    HiddenStates,
    /// 1 for tokens that are read.
    Mask,
    /// A vector of the whole text.
    Pooled,
    /// Sizes and crop of the picture (Stable Diffusion XL).
    TimeIds,
    /// The guidance scale, embedded (latent consistency models).
    GuidanceEmbedding,
    /// The number of the style.
    Style,
    /// What the n-th layer of the way down gets from ControlNets.
    Down(usize),
    /// What the middle gets from ControlNets.
    Middle,
    /// The picture that a ControlNet follows.
    ControlPicture,
    /// How strongly a ControlNet counts.
    ControlScale,
}

impl Role {
    /// The role of an input; `place`: its place among the inputs of the way down, where its name has no number.
    pub(crate) fn of(name: &str, place: usize) -> Option<Self> {
        Some(match name {
            "sample" | "hidden_states" | "latent" | "latent_model_input" => Self::Sample,
            "timestep" | "timesteps" | "t" => Self::Timestep,
            "encoder_hidden_states" => Self::HiddenStates,
            "encoder_attention_mask" => Self::Mask,
            "text_embeds" => Self::Pooled,
            "time_ids" => Self::TimeIds,
            "timestep_cond" => Self::GuidanceEmbedding,
            "style" => Self::Style,
            "controlnet_cond" => Self::ControlPicture,
            "conditioning_scale" => Self::ControlScale,
            _ if name.starts_with("down_block") => {
                let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
                Self::Down(name[name.len() - digits..].parse().unwrap_or(place))
            }
            _ if name.starts_with("mid_block") => Self::Middle,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_exporters_are_known() {
        for (name, role) in [
            ("sample", Some(Role::Sample)),
            ("timestep_cond", Some(Role::GuidanceEmbedding)),
            ("down_block_additional_residuals_11", Some(Role::Down(11))),
            ("down_block_res_samples.3", Some(Role::Down(3))),
            ("down_block_additional_residual", Some(Role::Down(7))),
            ("mid_block_additional_residual", Some(Role::Middle)),
            ("ip_adapter_embeds", None),
        ] {
            assert_eq!(Role::of(name, 7), role, "{name}");
        }
    }
}
