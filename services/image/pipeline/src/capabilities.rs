//! What a loaded pipeline can do.

/// What requests may ask of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Capabilities {
    /// Width of a picture whose request names none, in pixels.
    pub default_width: u32,
    /// Height of a picture whose request names none, in pixels.
    pub default_height: u32,
    /// Smallest side, in pixels.
    pub min_size: u32,
    /// Largest side, in pixels.
    pub max_size: u32,
    /// Sides are multiples of this; 0: only the default size.
    pub size_multiple: u32,
    /// Names of schedulers, the default first.
    pub schedulers: Vec<String>,
    /// Names of styles.
    pub styles: Vec<String>,
    /// A picture may be given to start from.
    pub image_to_image: bool,
    /// A mask may be given.
    pub inpainting: bool,
    /// How many ControlNets there are.
    pub control_nets: usize,
    /// Pictures have an alpha channel.
    pub transparency: bool,
    /// Negative prompts and guidance have an effect.
    pub guidance: bool,
    /// Previews can be made while a picture is made.
    pub previews: bool,
    /// Steps of a request that names none.
    pub default_steps: usize,
    /// Guidance scale of a request that names none.
    pub default_guidance_scale: f32,
    /// Most layers of the text encoder that can be left out.
    pub max_clip_skip: usize,
}
