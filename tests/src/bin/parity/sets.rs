//! What the name of a set says.

/// A set of numbers: `<task>_<scheduler>_s<steps>_g<guidance>` and what is unusual about it.
///
/// Parts are separated by underscores. The task is `txt2img`, `img2img` or `inpaint`; the scheduler follows (`euler_a` has
/// an underscore of its own); then, in any order, a word directly before a number: `s` or `steps`, `g`, `cfg` or
/// `guidance`, `st`, `str` or `strength` (`s` behind the steps, or nothing but a number up to 1, means it too), `gr` or `rescale` (of guidance),
/// `cs` or `clip` (clip skip), `eta`, `cn` (scale of every ControlNet), `from` and `to` (shares of the steps during which it
/// counts), `n` (pictures). `nonegative`: there is no negative prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) task: Task,
    /// Empty: the folder's own.
    pub(crate) scheduler: String,
    pub(crate) steps: Option<usize>,
    pub(crate) guidance: Option<f32>,
    pub(crate) strength: Option<f32>,
    pub(crate) rescale: f32,
    pub(crate) clip_skip: usize,
    pub(crate) eta: f32,
    pub(crate) control: (f32, f32, f32),
    pub(crate) pictures: usize,
    pub(crate) negative: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    TextToImage,
    ImageToImage,
    Inpaint,
}

/// Names of tasks.
const TASKS: [(&str, Task); 7] = [
    ("txt2img", Task::TextToImage),
    ("text2img", Task::TextToImage),
    ("t2i", Task::TextToImage),
    ("img2img", Task::ImageToImage),
    ("i2i", Task::ImageToImage),
    ("inpainting", Task::Inpaint),
    ("inpaint", Task::Inpaint),
];

impl Set {
    /// `None`: the name is not that of a set.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        // Beside a set's picture lie its latents.
        if name.ends_with(".latents") || name.ends_with("_latents") {
            return None;
        }
        let (task, rest) = TASKS.iter().find_map(|(word, task)| Some((*task, name.strip_prefix(word)?)))?;
        let mut set = Self {
            name: name.to_owned(),
            task,
            scheduler: String::new(),
            steps: None,
            guidance: None,
            strength: None,
            rescale: 0.0,
            clip_skip: 0,
            eta: 0.0,
            control: (1.0, 0.0, 1.0),
            pictures: 1,
            negative: true,
        };
        for part in rest.split('_').filter(|part| !part.is_empty()) {
            if !set.take(part) {
                // Whatever says nothing else is a part of the scheduler's name.
                let separator = if set.scheduler.is_empty() { "" } else { "_" };
                set.scheduler = format!("{}{separator}{part}", set.scheduler);
            }
        }
        Some(set)
    }

    fn take(&mut self, part: &str) -> bool {
        if part == "nonegative" {
            self.negative = false;
            return true;
        }
        let digits = part.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(part.len());
        let (word, number) = part.split_at(digits);
        let Ok(value) = number.parse::<f32>() else { return false };
        match word {
            "s" | "steps" if self.steps.is_none() && value >= 1.0 => self.steps = Some(value as usize),
            "s" | "st" | "str" | "strength" => self.strength = Some(value),
            "" if self.task != Task::TextToImage && value <= 1.0 => self.strength = Some(value),
            "g" | "cfg" | "guidance" => self.guidance = Some(value),
            "gr" | "rescale" => self.rescale = value,
            "cs" | "clip" => self.clip_skip = value as usize,
            "eta" => self.eta = value,
            "cn" => self.control.0 = value,
            "from" => self.control.1 = value,
            "to" => self.control.2 = value,
            "n" => self.pictures = value as usize,
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_done() {
        let set = Set::parse("img2img_dpmpp_2m_s10_g7.5_st0.6").unwrap();
        assert_eq!((set.task, set.scheduler.as_str()), (Task::ImageToImage, "dpmpp_2m"));
        assert_eq!((set.steps, set.guidance, set.strength), (Some(10), Some(7.5), Some(0.6)));
        let set = Set::parse("inpaint_euler_a_steps4_strength1.0_g1.0_eta0.3_nonegative").unwrap();
        assert_eq!((set.task, set.scheduler.as_str(), set.steps), (Task::Inpaint, "euler_a", Some(4)));
        assert_eq!((set.strength, set.eta, set.negative), (Some(1.0), 0.3, false));
        assert_eq!(Set::parse("img2img_ddim_s10_0.6").unwrap().strength, Some(0.6));
        assert_eq!(Set::parse("txt2img_lcm_s4_g8_s0.5").unwrap().strength, Some(0.5));
        assert_eq!(Set::parse("txt2img").unwrap().scheduler, "");
        assert_eq!(Set::parse("latents"), None);
        assert_eq!(Set::parse("txt2img_lcm_s4_g8.latents"), None);
    }
}
