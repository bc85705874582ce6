//! The images that a grid's points name.

use super::settings::Setting;
use super::{Assignment, Grid};

impl Grid {
    /// Every image reference that `base`, an axis or a named config sets, in the order of the text, each once.
    #[must_use]
    pub fn images(&self) -> Vec<String> {
        let assigned = self.base.iter().chain(self.configs.iter().flat_map(|config| &config.settings));
        let assigned = assigned.map(|assignment: &Assignment| &assignment.setting);
        let varied = self.axes.iter().flat_map(|axis| axis.values.iter().map(|value| &value.setting));
        let mut images: Vec<String> = Vec::new();
        for setting in assigned.chain(varied) {
            if let Setting::Image(Some(image)) = setting
                && !images.contains(image)
            {
                images.push(image.clone());
            }
        }
        images
    }
}
