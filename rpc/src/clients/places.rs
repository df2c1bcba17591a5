//! Places that clients hold for a long time: for subscribers, calls that wait for a commit, and checks of transactions
//! whose caller does not wait. One address holds at most half of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Client, NoPlace, Refused};

/// A bounded number of places of one kind.
#[derive(Debug)]
pub struct Places {
    max: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// Guard of a place that is taken; dropping it frees the place.
#[derive(Debug)]
pub struct Place {
    of: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// Creates `max` free places.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// Gives one more place to a client's address.
    ///
    /// Errors: [`NoPlace::All`] when all are taken, [`NoPlace::Address`] when the address holds its half.
    ///
    /// Cost: O(addresses that hold a place).
    pub fn take(self: &Arc<Self>, client: &Client) -> Result<Place, NoPlace> {
        let (address, share) = (client.address, self.max.div_ceil(2));
        let mut taken = self.lock();
        let of_address = taken.get(&address).copied().unwrap_or(0);
        let is_full = taken.values().sum::<usize>() >= self.max;
        if is_full || of_address >= share {
            client.count(Refused::NoPlace);
            return Err(if is_full { NoPlace::All(self.max) } else { NoPlace::Address(share) });
        }
        taken.insert(address, of_address + 1);
        Ok(Place { of: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().expect("a thread that panics stops the process")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        let of_address = taken.get_mut(&self.address).expect("a place is taken until it is dropped");
        *of_address -= 1;
        if *of_address == 0 {
            taken.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::connected, *};

    #[test]
    fn an_address_has_half_of_the_places() {
        let places = Places::new(4);
        let [one, two, three] = connected();
        let of_one = [places.take(&one).unwrap(), places.take(&one).unwrap()];
        assert_eq!(places.take(&one).unwrap_err(), NoPlace::Address(2));
        let of_two = [places.take(&two).unwrap(), places.take(&two).unwrap()];
        assert_eq!(places.take(&three).unwrap_err(), NoPlace::All(4));
        drop(of_one);
        let _of_three = places.take(&three).unwrap();
        drop(of_two);
        assert_eq!(places.lock().len(), 1, "an address without a place is forgotten");
        assert_eq!(Places::new(0).take(&one).unwrap_err(), NoPlace::All(0));
        let only = Places::new(1);
        let _place = only.take(&one).expect("half of one place is one");
    }
}
