//! Estimates how far this clock is from the other validators' clocks: proposals carry their proposer's time.

use std::collections::BTreeMap;

use types::{Address, Height, Round, Time, ValidatorSet};

/// The skew in the last proposal of each validator; one entry per validator.
#[derive(Debug, Default)]
pub(super) struct Skew {
    seen: BTreeMap<Address, ((Height, Round), f64)>,
}

impl Skew {
    /// Notes a proposal of `proposer`, made at `time`, that arrived at `received`. Returns the estimated skew in
    /// seconds: positive when this clock is ahead of most others. The estimate includes the transit time of messages,
    /// so only larger values are meaningful.
    pub fn note(
        &mut self,
        validators: &ValidatorSet,
        proposer: Address,
        at: (Height, Round),
        time: Time,
        received: Time,
    ) -> f64 {
        // A proposal that arrives again would only measure its delay.
        if self.seen.get(&proposer).is_none_or(|(seen, _)| *seen < at) {
            let ahead = (received.unix_nanos() - time.unix_nanos()) as f64 / 1e9;
            self.seen.insert(proposer, (at, ahead));
            self.seen.retain(|address, _| validators.by_address(address).is_some());
        }
        self.estimate()
    }

    /// Returns the median, so that a third of wrong clocks do not move it far.
    fn estimate(&self) -> f64 {
        let mut ahead: Vec<f64> = self.seen.values().map(|(_, ahead)| *ahead).collect();
        ahead.sort_by(f64::total_cmp);
        match ahead.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => ahead[odd / 2],
            even => (ahead[even / 2 - 1] + ahead[even / 2]) / 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use types::{Power, SecretKey};

    use super::*;

    #[test]
    fn the_median_of_the_others_is_not_moved_by_one_wrong_clock() {
        let key = |seed: u8| SecretKey::from_bytes(&[seed; 32]).unwrap().public_key();
        let set = ValidatorSet::new((1..=4).map(|seed| (key(seed), Power(1))).collect()).unwrap();
        let mut skew = Skew::default();
        let ms = Time::from_unix_millis;
        let at = |height| (Height(height), Round(0));
        assert_eq!(skew.note(&set, key(1).address(), at(1), ms(10_000), ms(10_002)), 0.002);
        assert_eq!(skew.note(&set, key(2).address(), at(2), ms(11_000), ms(71_000)), 30.001, "one against one");
        assert_eq!(skew.note(&set, key(3).address(), at(3), ms(12_000), ms(12_004)), 0.004);
        assert_eq!(skew.note(&set, key(3).address(), at(3), ms(12_000), ms(19_000)), 0.004, "said again");
        assert_eq!(skew.note(&set, key(1).address(), at(4), ms(13_000), ms(12_000)), 0.004, "ahead of us");
        let smaller = ValidatorSet::new(vec![(key(1), Power(1))]).unwrap();
        assert_eq!(skew.note(&smaller, key(1).address(), at(5), ms(14_000), ms(14_000)), 0.0, "who left is forgotten");
    }
}
