//! One seed, or many on all cores.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::violation::{Kind, Violation};
use super::{Figures, Life};

/// What came of a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lived {
    /// What happened.
    pub figures: Figures,
    /// Of everything said, in order: the same seed gives the same.
    pub trace: u64,
}

/// A life that broke a rule.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Its seed.
    pub seed: u64,
    /// The rule.
    pub violation: Violation,
    /// What happened and was said, as far as somebody wanted to know.
    pub story: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, violation, story } = self;
        writeln!(f, "seed {seed}: {violation}")?;
        writeln!(f, "alone: cargo run --release -p mds-tests --bin simulate -- --seed {seed} --trace")?;
        write!(f, "{story}")
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lives the life of a seed; with `is_told` a broken one tells everything that happened.
///
/// # Errors
/// If it breaks a rule.
pub fn live(seed: u64, is_told: bool) -> Result<Lived, Box<Broken>> {
    let mut life = Life::begin(seed, is_told);
    let ended = catch_unwind(AssertUnwindSafe(|| life.live()));
    let violation = match ended {
        Ok(Ok(())) => {
            let trace = life.cluster.broker.trace_hash();
            return Ok(Lived { figures: life.figures, trace });
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = PANIC.with(|last| last.borrow_mut().take());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Violation::new(Kind::Broken, text.unwrap_or_default())
        }
    };
    let story = if is_told { life.story() } else { String::new() };
    Err(Box::new(Broken { seed, violation, story }))
}

/// Lines at the end of a story that are kept where many lives are lived: the whole is one command away.
const LAST_LINES: usize = 400;

/// Lives the lives of so many seeds on all cores, and ends early only where `enough` are broken. After each life `seen` gets how many
/// have been begun, and what was broken in it. The broken ones come back by their seeds, each with the end of its story.
pub fn simulate(
    first: u64,
    seeds: u64,
    enough: usize,
    seen: impl Fn(u64, Option<&Broken>) + Sync,
) -> (Figures, Vec<Broken>) {
    std::panic::set_hook(Box::new(|panic| {
        PANIC.with(|last| *last.borrow_mut() = Some(panic.to_string()));
    }));
    let next = AtomicU64::new(first);
    let together = Mutex::new((Figures::default(), Vec::<Broken>::new()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let lived = live(seed, false);
                    seen(seed - first + 1, lived.as_ref().err().map(AsRef::as_ref));
                    let mut together = together.lock().unwrap_or_else(PoisonError::into_inner);
                    match lived {
                        Ok(lived) => together.0 += lived.figures,
                        Err(broken) => together.1.push(*broken),
                    }
                    if together.1.len() >= enough {
                        break;
                    }
                }
            });
        }
    });
    let (figures, mut broken) = together.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.sort_by_key(|broken| broken.seed);
    let told = broken.into_iter().map(|broken| match live(broken.seed, true) {
        Err(told) => told.shortened(),
        Ok(_) => Broken {
            story: "Lived again it was not broken: lives are not deterministic.".to_owned(),
            ..broken
        },
    });
    let told = told.collect();
    drop(std::panic::take_hook());
    (figures, told)
}

impl Broken {
    /// With the end of the story alone.
    fn shortened(mut self) -> Self {
        let lines = self.story.lines().count();
        if let Some(left_out) = lines.checked_sub(LAST_LINES + 1) {
            let last: Vec<&str> = self.story.lines().skip(left_out + 1).collect();
            self.story = format!("… {} lines before\n{}", left_out + 1, last.join("\n"));
        }
        self
    }
}

impl Life {
    /// Everything that happened and was said, in the order of its time.
    fn story(&self) -> String {
        let mut lines: Vec<String> = self.notes.clone().unwrap_or_default();
        lines.extend(self.cluster.told());
        lines.sort_by_key(|line| line.trim_start().split(' ').next().and_then(|at| at.parse::<u64>().ok()));
        format!("{:#?}\n{}\n{}", self.setting, lines.join("\n"), self.cluster.standing())
    }
}
