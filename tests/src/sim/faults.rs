//! What may happen to a message between the broker and a subscriber, and to which ones it happens.
//!
//! A rule counts the copies that fit it, in the order in which the broker hands them out, so "the second *Obtained* of t1" is exact.

use std::time::Duration;

use protocol::{ClientId, EventKind};

use super::rng::Rng;

/// What happens to a copy of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrive,
    /// It gets lost.
    Drop,
    /// It arrives twice, the second time after this long.
    Duplicate(Duration),
    /// It arrives this much later, and others overtake it.
    Delay(Duration),
}

/// Which of the copies that fit a rule meet its fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nth {
    /// All of them.
    All,
    /// The first so many.
    First(usize),
    /// This one alone, counted from 1.
    Only(usize),
}

/// Which copies meet which fate. What is not said fits everything.
#[derive(Debug, Clone)]
pub struct Rule {
    kind: Option<EventKind>,
    from: Option<ClientId>,
    to: Option<ClientId>,
    nth: Nth,
    fate: Fate,
    fitted: usize,
}

impl Rule {
    /// Every copy of every message meets this fate.
    #[must_use]
    pub const fn new(fate: Fate) -> Self {
        Self { kind: None, from: None, to: None, nth: Nth::All, fate, fitted: 0 }
    }

    /// Every copy of `kind` gets lost.
    #[must_use]
    pub const fn lose(kind: EventKind) -> Self {
        Self::new(Fate::Drop).of(kind)
    }

    /// Only events of this kind.
    #[must_use]
    pub const fn of(mut self, kind: EventKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only what this participant says.
    #[must_use]
    pub fn from(mut self, from: &ClientId) -> Self {
        self.from = Some(from.clone());
        self
    }

    /// Only the copy for this participant.
    #[must_use]
    pub fn to(mut self, to: &ClientId) -> Self {
        self.to = Some(to.clone());
        self
    }

    /// Only some of those that fit.
    #[must_use]
    pub const fn nth(mut self, nth: Nth) -> Self {
        self.nth = nth;
        self
    }

    fn fits(&self, kind: EventKind, from: &ClientId, to: &ClientId) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.from.as_ref().is_none_or(|wanted| wanted == from)
            && self.to.as_ref().is_none_or(|wanted| wanted == to)
    }
}

/// How often, out of a thousand copies, what happens at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    /// Lost.
    pub dropped: usize,
    /// Doubled.
    pub duplicated: usize,
    /// Late.
    pub delayed: usize,
    /// Acknowledged, and then lost to everybody: out of a thousand messages.
    pub swallowed: usize,
}

/// Everything that goes wrong on the bus.
#[derive(Debug, Default)]
pub struct Faults {
    /// Rules; the first that applies decides.
    pub rules: Vec<Rule>,
    /// What happens to the rest.
    pub weather: Weather,
}

impl Faults {
    /// Whether the broker takes a message and gives it to nobody.
    pub fn swallows(&self, rng: &mut Rng) -> bool {
        self.weather.swallowed > 0 && rng.chance(self.weather.swallowed, 1000)
    }

    /// What happens to this copy.
    pub fn fate(&mut self, kind: EventKind, from: &ClientId, to: &ClientId, rng: &mut Rng) -> Fate {
        for rule in &mut self.rules {
            if !rule.fits(kind, from, to) {
                continue;
            }
            rule.fitted += 1;
            let applies = match rule.nth {
                Nth::All => true,
                Nth::First(count) => rule.fitted <= count,
                Nth::Only(number) => rule.fitted == number,
            };
            if applies {
                return rule.fate;
            }
        }
        let weather = self.weather;
        if weather == Weather::default() {
            return Fate::Arrive;
        }
        let drawn = rng.below(1000);
        let late = rng.wait(Duration::from_secs(2));
        if drawn < weather.dropped {
            Fate::Drop
        } else if drawn < weather.dropped + weather.duplicated {
            Fate::Duplicate(late)
        } else if drawn < weather.dropped + weather.duplicated + weather.delayed {
            Fate::Delay(late)
        } else {
            Fate::Arrive
        }
    }

    /// How many copies fitted the rules, in their order.
    #[must_use]
    pub fn fitted(&self) -> Vec<usize> {
        self.rules.iter().map(|rule| rule.fitted).collect()
    }
}
