//! The plan, driven by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: PlanLimits = PlanLimits { per_holder: 2, bytes: u64::MAX, window: None, seed: 7 };
const LOST: Failure = Failure::Lost;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn busy(milliseconds: u64) -> Failure {
    Failure::Busy { retry_after: ms(milliseconds) }
}

/// A plan for `fragments` fragments of one byte, all of which all of `holders` holders hold.
fn plan(fragments: usize, holders: usize, limits: PlanLimits) -> Plan {
    let mut plan = Plan::new(vec![1; fragments], limits);
    for _ in 0..holders {
        let holder = plan.add_holder();
        plan.add_held(holder, 0..fragments);
    }
    plan
}

fn all_next(plan: &mut Plan, now: Duration) -> Vec<Flight> {
    std::iter::from_fn(|| plan.next(now)).collect()
}

/// Holders that need so many milliseconds for a fragment, one after the other; one that needs none never answers.
struct Holders {
    /// By holder.
    needs: Vec<u64>,
    /// When what is in flight arrives, in milliseconds.
    due: BTreeMap<Flight, u64>,
    now: u64,
    asked: usize,
    order: Vec<Flight>,
}

impl Holders {
    fn new(needs: impl Into<Vec<u64>>) -> Self {
        Self { needs: needs.into(), due: BTreeMap::new(), now: 0, asked: 0, order: Vec::new() }
    }

    /// Takes what the plan gives, until it is done or the time is over.
    fn run(&mut self, plan: &mut Plan, until: u64) {
        while self.step(plan) {
            assert!(self.now < until, "it must come to an end: {plan:?}");
        }
    }

    /// Takes off what can, and goes on to where something happens. False if all is done.
    fn step(&mut self, plan: &mut Plan) -> bool {
        for flight in all_next(plan, ms(self.now)) {
            self.asked += 1;
            self.order.push(flight);
            let of_it = self.due.iter().filter(|(other, _)| other.holder == flight.holder);
            let last = of_it.map(|(_, due)| *due).max().unwrap_or(0).max(self.now);
            let due = match self.needs[flight.holder] {
                0 => u64::MAX,
                needs => last + needs,
            };
            assert_eq!(self.due.insert(flight, due), None, "{flight:?} is in flight already");
        }
        if plan.outlook() == Outlook::Done {
            return false;
        }
        let check = plan.next_check(ms(self.now)).map_or(u64::MAX, |check| check.as_millis() as u64 + 1);
        let due = self.due.values().min().copied().unwrap_or(u64::MAX);
        self.now = check.min(due);
        if due == self.now {
            let flight = *self.due.iter().find(|(_, at)| **at == due).unwrap().0;
            self.due.remove(&flight);
            for over in plan.delivered(flight, ms(self.now)) {
                self.due.remove(&over).unwrap();
            }
        }
        true
    }

    fn served(&self, holder: usize) -> usize {
        self.order.iter().filter(|flight| flight.holder == holder).count()
    }
}

#[test]
fn all_holders_are_asked_at_once_for_one_and_no_fragment_twice() {
    let mut plan = plan(10, 3, LIMITS);
    let flights = all_next(&mut plan, ms(0));
    let mut fragments: Vec<_> = flights.iter().map(|flight| flight.fragment).collect();
    fragments.sort_unstable();
    fragments.dedup();
    assert_eq!(fragments.len(), 3);
    let mut holders: Vec<_> = flights.iter().map(|flight| flight.holder).collect();
    holders.sort_unstable();
    assert_eq!(holders, [0, 1, 2]);
}

#[test]
fn whoever_delivers_gets_more_at_once_up_to_the_limit() {
    let mut plan = plan(100, 1, PlanLimits { per_holder: 3, ..LIMITS });
    let mut most = Vec::new();
    for step in 1..=4 {
        let flights = all_next(&mut plan, ms(step));
        most.push(flights.len());
        flights.into_iter().for_each(|flight| drop(plan.delivered(flight, ms(step))));
    }
    assert_eq!(most, [1, 2, 3, 3]);
}

#[test]
fn the_bytes_in_flight_are_bounded() {
    let mut plan = plan(10, 3, PlanLimits { bytes: 2, ..LIMITS });
    assert_eq!(all_next(&mut plan, ms(0)).len(), 2);
}

#[test]
fn one_fragment_may_be_in_flight_however_large() {
    let mut plan = plan(10, 3, PlanLimits { bytes: 0, ..LIMITS });
    assert_eq!(all_next(&mut plan, ms(0)).len(), 1);
}

#[test]
fn the_rarest_come_first() {
    let mut plan = plan(6, 2, LIMITS);
    let third = plan.add_holder();
    plan.add_held(third, [0, 1, 2, 4]);
    let mut holders = Holders::new([10, 10, 10]);
    holders.run(&mut plan, 1000);
    let first: Vec<usize> =
        holders.order.iter().map(|flight| flight.fragment).filter(|f| [3, 5].contains(f)).collect();
    assert_eq!(first.len(), 2);
    let two = &holders.order[..3];
    assert_eq!(two.iter().filter(|flight| [3, 5].contains(&flight.fragment)).count(), 2, "{two:?}");
}

#[test]
fn when_a_holder_is_dropped_what_it_had_becomes_rarer() {
    // Two of three holders have the first half, the other two the second half; then one of the former lies.
    let mut plan = Plan::new(vec![1; 20], LIMITS);
    for held in [0..10, 0..20, 10..20] {
        let holder = plan.add_holder();
        plan.add_held(holder, held);
    }
    let flights = all_next(&mut plan, ms(0));
    let lie = flights.iter().find(|flight| flight.holder == 0).unwrap();
    plan.failed(*lie, Failure::Lied, ms(1));
    for flight in flights.iter().filter(|flight| flight.holder == 1) {
        plan.delivered(*flight, ms(1));
    }
    let next = all_next(&mut plan, ms(1));
    assert!(!next.is_empty());
    assert!(next.iter().all(|flight| flight.fragment < 10), "only one has them: {next:?}");
}

#[test]
fn equals_come_block_by_block_and_at_random_within_one() {
    // Four blocks of eight.
    let order = |seed| {
        let mut plan = Plan::new(vec![1 << 20; 32], PlanLimits { seed, ..LIMITS });
        let holder = plan.add_holder();
        plan.add_held(holder, 0..32);
        let mut holders = Holders::new([10]);
        holders.run(&mut plan, 1000);
        holders.order.iter().map(|flight| flight.fragment).collect::<Vec<_>>()
    };
    let (one, other) = (order(1), order(2));
    assert_ne!(one, other);
    assert_eq!(one, order(1), "a seed says it all");
    for order in [one, other] {
        assert!(!order.is_sorted());
        assert!(order.iter().map(|fragment| fragment / 8).is_sorted(), "{order:?}");
    }
}

#[test]
fn a_window_keeps_fragments_in_order() {
    let mut plan = plan(10, 3, PlanLimits { window: Some(2), ..LIMITS });
    let flights = all_next(&mut plan, ms(0));
    assert_eq!(flights.iter().map(|flight| flight.fragment).collect::<Vec<_>>(), [0, 1]);
    assert!(plan.delivered(flights[1], ms(1)).is_empty());
    assert!(all_next(&mut plan, ms(1)).is_empty(), "the first is still missing");
    plan.delivered(flights[0], ms(1));
    assert_eq!(all_next(&mut plan, ms(1)).len(), 2);
}

#[test]
fn a_fast_holder_gets_more() {
    let mut plan = plan(1000, 2, LIMITS);
    let mut holders = Holders::new([10, 40]);
    holders.run(&mut plan, 9000);
    let served = [holders.served(0), holders.served(1)];
    assert!(served[0] > 3 * served[1] && served[1] > 150, "{served:?}");
}

#[test]
fn a_slow_holder_is_given_none_of_the_last() {
    // Ten times slower: in the time that it needs for one more, the others have the rest.
    let mut plan = plan(200, 3, LIMITS);
    let mut holders = Holders::new([10, 10, 100]);
    holders.run(&mut plan, 2000);
    assert_eq!(holders.asked, 200, "and so nothing had to be asked for twice");
    // All three together need 200 / (0.1 + 0.1 + 0.01).
    assert!(holders.now < 1000, "{}", holders.now);
    assert!(holders.served(2) >= 6, "but it did its part: {}", holders.served(2));
}

#[test]
fn a_lost_fragment_goes_to_another_holder() {
    let mut plan = plan(1, 2, LIMITS);
    let first = plan.next(ms(0)).unwrap();
    plan.failed(first, Failure::NotHeld, ms(1));
    let second = plan.next(ms(1)).unwrap();
    assert_ne!(first.holder, second.holder);
    plan.delivered(second, ms(2));
    assert_eq!(plan.outlook(), Outlook::Done);
}

#[test]
fn a_liar_is_asked_no_more_and_what_it_had_in_flight_is_had_elsewhere() {
    let mut plan = plan(40, 2, LIMITS);
    let begun = all_next(&mut plan, ms(0));
    begun.iter().for_each(|flight| drop(plan.delivered(*flight, ms(1))));
    let flights = all_next(&mut plan, ms(1));
    let (liars, honest): (Vec<_>, Vec<_>) = flights.into_iter().partition(|flight| flight.holder == 0);
    assert_eq!(liars.len(), 2);
    assert_eq!(plan.failed(liars[0], Failure::Lied, ms(2)), [liars[1]]);
    assert_eq!(plan.dropped(0), Some(Dropped::Lied));
    honest.iter().for_each(|flight| drop(plan.delivered(*flight, ms(2))));
    let mut holders = Holders::new([0, 1]);
    holders.now = 2;
    holders.run(&mut plan, 1000);
    assert_eq!(holders.served(0), 0);
    assert!(liars.iter().all(|lost| holders.order.iter().any(|flight| flight.fragment == lost.fragment)));
}

#[test]
fn a_holder_that_does_not_answer_is_dropped_after_a_few_attempts() {
    let mut plan = plan(10, 1, LIMITS);
    let mut now = ms(0);
    for _ in 0..MAX_STRIKES {
        assert_eq!(plan.dropped(0), None);
        let flight = plan.next(now).unwrap();
        plan.failed(flight, LOST, now);
        now = plan.next_check(now).unwrap_or(now);
    }
    assert_eq!(plan.dropped(0), Some(Dropped::Lost));
    assert_eq!(plan.outlook(), Outlook::Stuck((0..10).collect()));
    plan.forgive();
    assert_eq!(plan.outlook(), Outlook::Running);
    assert!(plan.next(now).is_some());
}

#[test]
fn what_breaks_together_is_one_failure() {
    let mut plan = plan(40, 1, PlanLimits { per_holder: 8, ..LIMITS });
    for step in 0..4 {
        let flights = all_next(&mut plan, ms(step));
        flights.into_iter().for_each(|flight| drop(plan.delivered(flight, ms(step + 1))));
    }
    let flights = all_next(&mut plan, ms(5));
    assert!(flights.len() > 3);
    flights.into_iter().for_each(|flight| drop(plan.failed(flight, LOST, ms(5))));
    assert_eq!(plan.dropped(0), None);
    assert_eq!(plan.next(ms(5)), None, "it is left alone for a moment");
    let again = plan.next_check(ms(5)).unwrap();
    assert_eq!(all_next(&mut plan, again).len(), 1, "and begins with one again");
}

#[test]
fn a_busy_holder_is_left_alone_for_as_long_as_it_says_but_not_for_ever() {
    for (said, waited) in [(1000, 1000), (0, 50), (3_600_000, 5000)] {
        let mut plan = plan(1, 1, LIMITS);
        let flight = plan.next(ms(0)).unwrap();
        plan.failed(flight, busy(said), ms(0));
        assert_eq!(plan.next(ms(waited - 1)), None);
        assert_eq!(plan.outlook(), Outlook::Running);
        let later = plan.next_check(ms(1)).unwrap();
        assert_eq!(later.as_millis(), u128::from(waited));
        assert!(plan.next(later).is_some());
    }
}

#[test]
fn a_busy_holder_is_asked_for_less_at_once_afterwards() {
    let mut plan = plan(1000, 1, PlanLimits { per_holder: 8, ..LIMITS });
    for step in 0..6 {
        let flights = all_next(&mut plan, ms(step));
        flights.into_iter().for_each(|flight| drop(plan.delivered(flight, ms(step + 1))));
    }
    let flights = all_next(&mut plan, ms(6));
    assert_eq!(flights.len(), 8);
    let (refused, served) = flights.split_at(4);
    refused.iter().for_each(|flight| drop(plan.failed(*flight, busy(100), ms(7))));
    served.iter().for_each(|flight| drop(plan.delivered(*flight, ms(7))));
    let after = all_next(&mut plan, ms(108)).len();
    assert!((4..=5).contains(&after), "half of it, or one more for what was served: {after}");
}

#[test]
fn what_can_be_had_is_had_before_giving_up() {
    let mut plan = Plan::new([1, 1, 1], LIMITS);
    let holder = plan.add_holder();
    plan.add_held(holder, [0, 2]);
    for step in 0..2 {
        assert_eq!(plan.outlook(), Outlook::Running);
        let flight = plan.next(ms(step)).unwrap();
        plan.delivered(flight, ms(step + 1));
    }
    assert_eq!(plan.outlook(), Outlook::Stuck(vec![1]));
    assert!(plan.add_held(holder, [1]), "that is news");
    assert!(!plan.add_held(holder, [1]), "that is not");
    assert_eq!(plan.outlook(), Outlook::Running);
}

#[test]
fn whoever_said_that_it_has_not_is_asked_again_when_forgiven() {
    let mut plan = plan(1, 1, LIMITS);
    let flight = plan.next(ms(0)).unwrap();
    plan.failed(flight, Failure::NotHeld, ms(0));
    assert_eq!(plan.outlook(), Outlook::Stuck(vec![0]));
    plan.forgive();
    assert!(plan.next(ms(1)).is_some());
}

#[test]
fn a_silent_holder_is_overtaken_and_the_first_wins() {
    let mut plan = plan(3, 2, PlanLimits { per_holder: 1, ..LIMITS });
    let (slow, fast) = (plan.next(ms(0)).unwrap(), plan.next(ms(0)).unwrap());
    plan.delivered(fast, ms(10));
    let last = plan.next(ms(10)).unwrap();
    assert_eq!(last.holder, fast.holder);
    plan.delivered(last, ms(20));
    assert_eq!(plan.next(ms(20)), None, "it may still come");
    let late = plan.next_check(ms(20)).unwrap();
    assert_eq!(late.as_millis(), 40, "four times what the other one takes");
    let takeover = plan.next(late).unwrap();
    assert_eq!((takeover.fragment, takeover.holder), (slow.fragment, fast.holder));
    assert_eq!(plan.next(late), None, "not a third time");
    assert_eq!(plan.delivered(takeover, late + ms(10)), [slow]);
    assert_eq!(plan.outlook(), Outlook::Done);
    assert!(plan.delivered(slow, late + ms(11)).is_empty(), "what is over no longer counts");
}

#[test]
fn a_frozen_holder_costs_one_fragment() {
    let mut plan = plan(1000, 3, LIMITS);
    let mut holders = Holders::new([1, 1, 0]);
    holders.run(&mut plan, 700);
    assert_eq!(holders.asked, 1001);
}

#[test]
fn of_two_that_fall_silent_one_after_the_other_neither_is_waited_for() {
    let mut plan = plan(30, 3, LIMITS);
    let mut holders = Holders::new([10, 10, 10]);
    // Until about the end; then only the third goes on.
    while plan.flying.len() + plan.order_open() > 3 {
        holders.step(&mut plan);
    }
    holders.needs = vec![0, 0, 10];
    holders.due.iter_mut().filter(|(flight, _)| flight.holder < 2).for_each(|(_, due)| *due = u64::MAX);
    holders.run(&mut plan, 1500);
}

#[test]
fn two_flights_at_most_bring_something() {
    // All are slow, and equally so: nobody overtakes anybody.
    let mut plan = plan(30, 3, LIMITS);
    let mut holders = Holders::new([50, 50, 50]);
    holders.run(&mut plan, 1000);
    assert_eq!(holders.asked, 30);
}

#[test]
fn an_empty_plan_is_done() {
    assert_eq!(Plan::new([], LIMITS).outlook(), Outlook::Done);
}

#[test]
fn two_hundred_thousand_fragments_at_a_hundred_holders_are_not_searched() {
    const FRAGMENTS: usize = 200_000;
    let mut plan = Plan::new(vec![64 << 10; FRAGMENTS], PlanLimits { per_holder: 4, ..LIMITS });
    for number in 0..100 {
        let holder = plan.add_holder();
        // Half of them are everywhere, of the rest each holder has three in a hundred.
        let held = (0..FRAGMENTS).filter(|index| index % 2 == 0 || (index / 2 + number) % 33 == 0);
        plan.add_held(holder, held);
    }
    let mut flying = std::collections::VecDeque::new();
    let (mut now, mut asked) = (ms(0), 0);
    while plan.outlook() != Outlook::Done {
        while let Some(flight) = plan.next(now) {
            asked += 1;
            flying.push_back(flight);
        }
        now += Duration::from_micros(10);
        let flight = flying.pop_front().unwrap();
        for over in plan.delivered(flight, now) {
            flying.retain(|flight| *flight != over);
        }
    }
    assert!(asked < FRAGMENTS + FRAGMENTS / 100, "{asked}");
    // To look through the whole row for each would be six hundred million.
    let looked_at = plan.order.looked_at;
    assert!(looked_at < 10_000_000, "{looked_at}");
}

impl Plan {
    /// Fragments that are neither done nor in flight.
    fn order_open(&self) -> usize {
        let is_open = |fragment: &&Fragment| !fragment.is_done && fragment.trips.is_empty();
        self.fragments.iter().filter(is_open).count()
    }

    /// What must hold at any time.
    fn check(&self) {
        let mut in_flight = vec![(0, 0); self.holders.len()];
        let mut bytes = 0;
        for (index, fragment) in self.fragments.iter().enumerate() {
            assert_eq!(self.flying.contains(&index), !fragment.trips.is_empty());
            assert!(!(fragment.is_done && self.flying.contains(&index)));
            for trip in &fragment.trips {
                in_flight[trip.holder].0 += 1;
                in_flight[trip.holder].1 += fragment.size_bytes;
                bytes += fragment.size_bytes;
            }
        }
        assert_eq!(bytes, self.bytes_in_flight);
        for (index, (holder, counted)) in self.holders.iter().zip(in_flight).enumerate() {
            assert!(self.awake.contains(&index) || holder.dropped.is_some() || holder.in_flight > 0);
            assert_eq!((holder.in_flight, holder.bytes_in_flight), counted);
            assert!(holder.in_flight <= self.limits.per_holder);
        }
        let open = self.fragments.iter().filter(|fragment| !fragment.is_done);
        assert_eq!(open.map(|fragment| fragment.size_bytes).sum::<u64>(), self.open_bytes);
    }
}

proptest! {
    /// Whatever happens, the books are right, no holder is asked for what it does not hold, and in the end all is done or the rest has
    /// no holder.
    #[test]
    fn any_course_of_events_comes_to_an_end(
        seed in any::<u64>(),
        sizes in prop::collection::vec(1_u64..3000, 0..40),
        held in prop::collection::vec(any::<u64>(), 0..6),
        window in prop::option::of(1_usize..8),
        happenings in prop::collection::vec((0_usize..64, 0_u8..16, 0_u64..400), 0..400),
    ) {
        let mut plan = Plan::new(sizes.clone(), PlanLimits { per_holder: 4, bytes: 5000, window, seed });
        let holds = |holder: usize, fragment: usize| held[holder] >> (fragment % 64) & 1 == 1;
        for number in 0..held.len() {
            let holder = plan.add_holder();
            plan.add_held(holder, (0..sizes.len()).filter(|fragment| holds(number, *fragment)));
        }
        let mut flying: Vec<Flight> = Vec::new();
        let mut now = ms(0);
        let mut happenings = happenings.into_iter();
        loop {
            for flight in all_next(&mut plan, now) {
                prop_assert!(holds(flight.holder, flight.fragment) && !flying.contains(&flight));
                prop_assert!(plan.dropped(flight.holder).is_none());
                flying.push(flight);
            }
            plan.check();
            match plan.outlook() {
                Outlook::Done => break,
                Outlook::Stuck(fragments) => {
                    prop_assert!(flying.is_empty());
                    prop_assert!(!fragments.is_empty());
                    break;
                }
                Outlook::Running => {}
            }
            if flying.is_empty() {
                now = plan.next_check(now).expect("something comes");
                continue;
            }
            // When nothing happens any more, all arrive.
            let (which, what, later) = happenings.next().unwrap_or((0, 0, 1));
            now += ms(later);
            let flight = flying.swap_remove(which % flying.len());
            let over = match what {
                0..8 => plan.delivered(flight, now),
                8..10 => plan.failed(flight, Failure::NotHeld, now),
                10..12 => plan.failed(flight, LOST, now),
                12..14 => plan.failed(flight, busy(later), now),
                14 => plan.failed(flight, Failure::Lied, now),
                _ => { flying.push(flight); Vec::new() }
            };
            flying.retain(|flight| !over.contains(flight));
        }
    }
}
