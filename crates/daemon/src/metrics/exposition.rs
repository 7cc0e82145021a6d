//! The older text format of Prometheus (version 0.0.4) out of the OpenMetrics one, for who does not ask for the latter.
//!
//! They differ in the name of a counter, which in the older one has its ending everywhere, and in the last line.

use std::collections::HashSet;
use std::fmt::Write;

const TYPE: &str = "# TYPE ";
const HELP: &str = "# HELP ";

/// The same metrics for older readers.
pub(super) fn older(open_metrics: &str) -> String {
    let types = open_metrics.lines().filter_map(|line| line.strip_prefix(TYPE));
    let counters: HashSet<&str> = types.filter_map(|line| line.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let told = [TYPE, HELP].into_iter().find_map(|kind| Some((kind, line.strip_prefix(kind)?)));
        let counter = told.and_then(|(kind, rest)| {
            let (name, rest) = rest.split_once(' ')?;
            counters.contains(name).then_some((kind, name, rest))
        });
        // Writing into a string cannot fail.
        let _ = match counter {
            Some((kind, name, rest)) => writeln!(text, "{kind}{name}_total {rest}"),
            None => writeln!(text, "{line}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_its_ending_everywhere() {
        let open_metrics = "# HELP a_b What a b is.\n# TYPE a_b counter\na_b_total{x=\"# TYPE\"} 1\n\
                            # HELP c Free.\n# TYPE c gauge\nc 2\n# EOF\n";
        let wanted = "# HELP a_b_total What a b is.\n# TYPE a_b_total counter\na_b_total{x=\"# TYPE\"} 1\n\
                      # HELP c Free.\n# TYPE c gauge\nc 2\n";
        assert_eq!(older(open_metrics), wanted);
    }
}
