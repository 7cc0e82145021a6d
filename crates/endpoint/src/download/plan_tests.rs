//! The plan, driven by hand.

use super::*;

const LIMITS: PlanLimits = PlanLimits { per_holder: 2, bytes: u64::MAX, window: None };

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
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

#[test]
fn all_holders_are_asked_at_once_in_file_order_and_no_fragment_twice() {
    let mut plan = plan(10, 3, LIMITS);
    let flights = all_next(&mut plan, ms(0));
    assert_eq!(flights.iter().map(|flight| flight.fragment).collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
    for holder in 0..3 {
        assert_eq!(flights.iter().filter(|flight| flight.holder == holder).count(), 2);
    }
}

#[test]
fn the_bytes_in_flight_are_bounded() {
    let mut plan = plan(10, 3, PlanLimits { bytes: 3, ..LIMITS });
    assert_eq!(all_next(&mut plan, ms(0)).len(), 3);
}

#[test]
fn one_fragment_may_be_in_flight_however_large() {
    let mut plan = plan(10, 3, PlanLimits { bytes: 0, ..LIMITS });
    assert_eq!(all_next(&mut plan, ms(0)).len(), 1);
}

#[test]
fn a_window_keeps_fragments_about_in_order() {
    let mut plan = plan(10, 3, PlanLimits { window: Some(2), ..LIMITS });
    let flights = all_next(&mut plan, ms(0));
    assert_eq!(flights.len(), 2);
    assert!(plan.delivered(flights[1], ms(1)).is_empty());
    assert!(all_next(&mut plan, ms(1)).is_empty(), "the first is still missing");
    plan.delivered(flights[0], ms(1));
    assert_eq!(all_next(&mut plan, ms(1)).len(), 2);
}

#[test]
fn a_fast_holder_gets_more() {
    let mut plan = plan(100, 2, LIMITS);
    let mut now = ms(0);
    let mut served = [0, 0];
    let mut flying = all_next(&mut plan, now);
    // Holder 0 answers at each step, holder 1 at every fourth.
    for step in 0.. {
        now += ms(10);
        let (landing, rest): (Vec<_>, Vec<_>) =
            flying.into_iter().partition(|flight| flight.holder == 0 || step % 4 == 3);
        flying = rest;
        for flight in landing {
            served[flight.holder] += 1;
            for over in plan.delivered(flight, now) {
                flying.retain(|flight| *flight != over);
            }
        }
        flying.extend(all_next(&mut plan, now));
        if plan.outlook() == Outlook::Done {
            break;
        }
    }
    assert_eq!(served[0] + served[1], 100);
    assert!(served[0] > 3 * served[1], "{served:?}");
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
    let mut plan = plan(4, 2, LIMITS);
    let flights = all_next(&mut plan, ms(0));
    let (liars, honest): (Vec<_>, Vec<_>) = flights.into_iter().partition(|flight| flight.holder == 0);
    assert_eq!(plan.failed(liars[0], Failure::Lied, ms(1)), [liars[1]]);
    assert_eq!(plan.dropped(0), Some(Dropped::Lied));
    honest.iter().for_each(|flight| drop(plan.delivered(*flight, ms(1))));
    let again = all_next(&mut plan, ms(1));
    assert!(again.iter().all(|flight| flight.holder == 1));
    let fragments: Vec<_> = again.iter().map(|flight| flight.fragment).collect();
    assert_eq!(fragments, liars.iter().map(|flight| flight.fragment).collect::<Vec<_>>());
}

#[test]
fn a_holder_that_does_not_answer_is_dropped_after_a_few_attempts() {
    let mut plan = plan(10, 1, LIMITS);
    for _ in 0..MAX_STRIKES {
        assert_eq!(plan.dropped(0), None);
        let flight = plan.next(ms(0)).unwrap();
        plan.failed(flight, Failure::Lost, ms(0));
    }
    assert_eq!(plan.dropped(0), Some(Dropped::Lost));
    assert_eq!(plan.outlook(), Outlook::Stuck((0..10).collect()));
    plan.forgive();
    assert_eq!(plan.outlook(), Outlook::Running);
    assert!(plan.next(ms(0)).is_some());
}

#[test]
fn a_busy_holder_is_left_alone_for_a_while() {
    let mut plan = plan(1, 1, LIMITS);
    let flight = plan.next(ms(0)).unwrap();
    plan.failed(flight, Failure::Busy, ms(0));
    assert_eq!(plan.next(ms(1)), None);
    assert_eq!(plan.outlook(), Outlook::Running);
    let later = plan.next_check(ms(1)).unwrap();
    assert_eq!(later, BUSY_PAUSE);
    assert!(plan.next(later).is_some());
}

#[test]
fn what_can_be_had_is_had_before_giving_up() {
    let mut plan = Plan::new([1, 1, 1], LIMITS);
    let holder = plan.add_holder();
    plan.add_held(holder, [0, 2]);
    let flights = all_next(&mut plan, ms(0));
    assert_eq!(flights.len(), 2);
    plan.delivered(flights[0], ms(1));
    assert_eq!(plan.outlook(), Outlook::Running);
    plan.delivered(flights[1], ms(1));
    assert_eq!(plan.outlook(), Outlook::Stuck(vec![1]));
    assert!(plan.add_held(holder, [1]), "that is news");
    assert!(!plan.add_held(holder, [1]), "that is not");
    assert_eq!(plan.outlook(), Outlook::Running);
}

#[test]
fn a_late_fragment_is_also_asked_of_an_idle_holder_and_the_first_wins() {
    let mut plan = plan(3, 2, PlanLimits { per_holder: 1, ..LIMITS });
    let slow = plan.next(ms(0)).unwrap();
    let fast = plan.next(ms(0)).unwrap();
    plan.delivered(fast, ms(10));
    let last = plan.next(ms(10)).unwrap();
    assert_eq!(last.holder, fast.holder);
    plan.delivered(last, ms(20));
    assert_eq!(plan.next(ms(20)), None, "not late yet");
    let late = plan.next_check(ms(20)).unwrap();
    assert_eq!(late, ms(10) * LATE_FACTOR, "four times what the idle holder usually takes");
    let takeover = plan.next(late).unwrap();
    assert_eq!((takeover.fragment, takeover.holder), (slow.fragment, fast.holder));
    assert_eq!(plan.next(late), None, "not a third time");
    assert_eq!(plan.delivered(takeover, late + ms(10)), [slow]);
    assert_eq!(plan.outlook(), Outlook::Done);
    assert!(plan.delivered(slow, late + ms(11)).is_empty(), "what is over no longer counts");
}

#[test]
fn a_frozen_holder_costs_no_more_than_what_it_had_in_flight() {
    let mut plan = plan(1000, 3, LIMITS);
    let mut now = ms(0);
    let mut asked = 0;
    let mut flying = Vec::new();
    while plan.outlook() != Outlook::Done {
        let flights = all_next(&mut plan, now);
        asked += flights.len();
        flying.extend(flights);
        now += ms(1);
        let (frozen, landing): (Vec<_>, Vec<_>) = flying.into_iter().partition(|flight| flight.holder == 2);
        flying = frozen;
        for flight in landing {
            for over in plan.delivered(flight, now) {
                flying.retain(|flight| *flight != over);
            }
        }
        assert!(now < ms(2000), "it must come to an end");
    }
    assert_eq!(asked, 1000 + LIMITS.per_holder);
}

#[test]
fn an_empty_plan_is_done() {
    assert_eq!(Plan::new([], LIMITS).outlook(), Outlook::Done);
}
