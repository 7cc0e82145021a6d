//! What each torrent should hold, and how its distance from that bends its cost.
//!
//! Chance alone would leave the fullest of 100 torrents with 200 fragments each at 1.2 times the mean. So one that holds more than its fair
//! share costs more, one that holds less costs less. It is a mild pull, not a bound, on purpose: decisions made at once, before any
//! of them shows in the view, do not all fall on the emptiest torrent; a newcomer is filled a few times faster than the others,
//! not by every upload of the service; and views that differ by some fragments find nearly the same order. (Steps in place of the
//! smooth factor were tried: with them such views differ more, since a step moves an order as much as all the small changes it saves.)

/// Largest weight of a torrent: what lets sums and products of a million torrents fit.
pub(super) const MAX_WEIGHT: u64 = 1 << 52;

/// The factor on the cost of a torrent that holds what it should, and the range of factors: see [`Share::pressure`].
const NO_PRESSURE: u64 = 256;
const MIN_PRESSURE: u64 = NO_PRESSURE / 2;
pub(super) const MAX_PRESSURE: u64 = NO_PRESSURE * 4;

/// One copy of every fragment, as a share.
const ONE_COPY: u64 = 1 << 32;

/// About how many fragments are decided on before their outcome shows in the view.
const WINDOW_FRAGMENTS: u128 = 64;

/// By which part of its fair share a torrent may be off besides, before its cost changes much: 1/50.
const SLACK_DIVISOR: u128 = 50;

/// What a torrent should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Of how many fragments it should hold a copy, in 2^-32 of all fragments.
    fragments: u64,
    /// How many of all bytes held it should hold, in 2^-32.
    bytes: u64,
}

impl Share {
    /// The factor on the cost of a torrent that holds `used_bytes` of the `total_bytes` that all hold: [`NO_PRESSURE`] if that is its
    /// fair share, down to [`MIN_PRESSURE`] for less, up to [`MAX_PRESSURE`] for more.
    ///
    /// It is the inverse of the room left below a bound a little above the fair share: new fragments come in proportion to that
    /// room. As the room is at least what comes before it is seen to have come, that does not overshoot.
    pub(super) fn pressure(self, used_bytes: u64, total_bytes: u128, fragment_size_bytes: u64) -> u64 {
        let fair = (total_bytes * u128::from(self.bytes)) >> 32;
        let window = (u128::from(fragment_size_bytes) * WINDOW_FRAGMENTS * u128::from(self.fragments)) >> 32;
        let slack = fair / SLACK_DIVISOR + window;
        let room = (fair + slack).saturating_sub(u128::from(used_bytes));
        // A division of 64 bits is several times faster, and half of them are more than enough.
        let excess_bits = 80_u32.saturating_sub((slack | room).leading_zeros());
        let (slack, room) = ((slack >> excess_bits) as u64, (room >> excess_bits) as u64);
        (slack * NO_PRESSURE).checked_div(room).unwrap_or(MAX_PRESSURE).clamp(MIN_PRESSURE, MAX_PRESSURE)
    }
}

/// What each torrent should hold: copies in proportion to the weights, but of one fragment never two at a torrent and, while there
/// are zones enough, never two in a zone. `zones_by_torrent` are numbers from 0, none left out.
pub(super) fn fair_shares(weights: &[u64], zones_by_torrent: &[usize], copies: usize) -> Vec<Share> {
    let copies = copies.min(weights.len());
    let mut torrents: Vec<usize> = (0..weights.len()).collect();
    torrents.sort_by_key(|torrent| zones_by_torrent[*torrent]);
    let zones: Vec<&[usize]> =
        torrents.chunk_by(|a, b| zones_by_torrent[*a] == zones_by_torrent[*b]).collect();
    let weight_of = |torrent: &usize| u128::from(weights[*torrent]);
    let weights_by_zone: Vec<u128> = zones.iter().map(|zone| zone.iter().map(weight_of).sum()).collect();

    // Round by round as the places are filled: each zone that still has a torrent takes one, in the last round some zones do.
    let mut fragments_by_zone = vec![0; zones.len()];
    let mut left = copies;
    for round in 0.. {
        let open: Vec<usize> = (0..zones.len()).filter(|zone| zones[*zone].len() > round).collect();
        let places = left.min(open.len());
        if places == 0 {
            break;
        }
        let open_weights: Vec<u128> = open.iter().map(|zone| weights_by_zone[*zone]).collect();
        for (zone, fragments) in open.iter().zip(divide(places as u64 * ONE_COPY, &open_weights)) {
            fragments_by_zone[*zone] += fragments;
        }
        left -= places;
    }

    let mut shares = vec![Share { fragments: 0, bytes: 0 }; weights.len()];
    let mut give = |torrent: usize, fragments: u64| {
        shares[torrent] = Share { fragments, bytes: fragments / copies.max(1) as u64 };
    };
    for (zone, fragments) in zones.into_iter().zip(fragments_by_zone) {
        if let [torrent] = zone {
            give(*torrent, fragments);
        } else {
            let weights: Vec<u128> = zone.iter().map(weight_of).collect();
            zone.iter().zip(divide(fragments, &weights)).for_each(|(torrent, part)| give(*torrent, part));
        }
    }
    shares
}

/// Divides `amount` in proportion to the weights, but gives none more than [`ONE_COPY`]: the others get what is over.
fn divide(amount: u64, weights: &[u128]) -> Vec<u64> {
    let mut heaviest_first: Vec<usize> = (0..weights.len()).collect();
    heaviest_first.sort_by_key(|index| std::cmp::Reverse(weights[*index]));
    let mut left = amount;
    let mut left_weight: u128 = weights.iter().sum();
    let mut parts = vec![0; weights.len()];
    for index in heaviest_first {
        let part = (u128::from(left) * weights[index]).checked_div(left_weight).unwrap_or(0);
        parts[index] = u64::try_from(part).map_or(ONE_COPY, |part| part.min(ONE_COPY));
        left -= parts[index];
        left_weight -= weights[index];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares in copies of 100 fragments.
    fn percents(weights: &[u64], zones: &[usize], copies: usize) -> Vec<u64> {
        let shares = fair_shares(weights, zones, copies);
        shares.iter().map(|share| (share.fragments * 100 + ONE_COPY / 2) / ONE_COPY).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        assert_eq!(percents(&[1, 1, 1, 1], &[0, 1, 2, 3], 2), [50, 50, 50, 50]);
        assert_eq!(percents(&[1, 2, 3, 4], &[0, 1, 2, 3], 2), [20, 40, 60, 80]);
        assert_eq!(percents(&[1, 2, 3, 4], &[0, 0, 0, 0], 2), [20, 40, 60, 80]);
    }

    #[test]
    fn no_torrent_should_hold_a_fragment_twice() {
        assert_eq!(percents(&[1, 1, 8], &[0, 1, 2], 2), [50, 50, 100]);
        assert_eq!(percents(&[1, 1, 8], &[0, 0, 0], 2), [50, 50, 100]);
        assert_eq!(percents(&[1, 1, 8], &[0, 1, 2], 3), [100, 100, 100]);
        assert_eq!(percents(&[1, 1, 8], &[0, 1, 2], 9), [100, 100, 100]);
        assert_eq!(percents(&[1, 1, 8], &[0, 1, 2], 0), [0, 0, 0]);
        assert_eq!(percents(&[], &[], 2), [0; 0]);
    }

    #[test]
    fn no_zone_should_hold_a_fragment_twice_while_others_can() {
        assert_eq!(percents(&[1, 1, 1, 1], &[0, 1, 1, 1], 2), [100, 33, 33, 33]);
        assert_eq!(percents(&[1, 1, 1, 1], &[0, 1, 1, 2], 2), [50, 50, 50, 50]);
        assert_eq!(percents(&[1, 1, 1, 1], &[0, 1, 1, 1], 3), [100, 67, 67, 67]);
        assert_eq!(percents(&[1, 1, 1, 1], &[0, 0, 1, 1], 3), [75, 75, 75, 75]);
    }

    #[test]
    fn the_extremes_fit() {
        let weights = [MAX_WEIGHT; 1000];
        let zones: Vec<usize> = (0..1000).collect();
        assert!(percents(&weights, &zones, 500).iter().all(|percent| *percent == 50));
        let share = Share { fragments: ONE_COPY, bytes: ONE_COPY };
        assert_eq!(share.pressure(u64::MAX, u128::from(u64::MAX) << 20, u64::MAX), MIN_PRESSURE);
        assert_eq!(share.pressure(u64::MAX, u128::from(u64::MAX), u64::MAX), NO_PRESSURE);
        assert_eq!(share.pressure(u64::MAX, 0, 1), MAX_PRESSURE);
        assert_eq!(share.pressure(0, 0, 0), MAX_PRESSURE);
    }

    #[test]
    fn the_fuller_the_dearer() {
        // 1000 fragments in two copies on 10 torrents: 200 each; a slack of 64/5 + 4.
        let share = fair_shares(&[7; 10], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2)[3];
        let pressure = |held: u64| share.pressure(held << 18, 2000 << 18, 1 << 18);
        let pressures: Vec<u64> = [0, 180, 190, 195, 200, 205, 210, 213, 400].map(pressure).into();
        assert_eq!(pressures, [128, 128, 160, 197, 256, 364, 632, 1024, 1024]);
    }

    #[test]
    fn the_pull_does_not_depend_on_the_unit() {
        let share = fair_shares(&[7; 10], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2)[3];
        let pressures = [0, 10, 20, 30, 40].map(|unit| share.pressure(190 << unit, 2000 << unit, 1 << unit));
        assert_eq!(pressures[1..], [pressures[4]; 4]);
    }
}
