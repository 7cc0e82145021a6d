//! The progress bar: on standard error, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How bytes are shown, with and without a known total.
const OF_TOTAL: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const SO_FAR: &str = "{msg} {spinner} {bytes} {bytes_per_sec}";

/// A bar for `total_bytes`, if known. It is invisible unless standard error is a terminal and answers are for people.
pub fn bytes(what: &str, total_bytes: Option<u64>, json: bool) -> ProgressBar {
    // `stderr()` hides itself where standard error is no terminal.
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(total_bytes, target);
    let template = if total_bytes.is_some() { OF_TOTAL } else { SO_FAR };
    // A template that cannot be read shows as the default one; the test sees to it that they can.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(crate::output::printable(what));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_can_be_read() {
        for template in [OF_TOTAL, SO_FAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
