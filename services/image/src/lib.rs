//! The image service: diffusion, GAN and VAE models, clips, and what pictures show.
