//! Schedules calls of high cost, such as searches, of which only a few may run at one time. Addresses take turns: a
//! call of a new address waits for the running calls and for one call of each other address, however many calls one of
//! them has queued.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Client, Refused};

/// Scheduler that hands out turns to calls.
#[derive(Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    running_max: usize,
    waiting_max: usize,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    running: usize,
    waiting: usize,
    /// Waiting calls by address, in the order in which the addresses have their turns. No queue in it is empty.
    of_addresses: VecDeque<(IpAddr, VecDeque<oneshot::Sender<Turn>>)>,
}

/// Guard of a running call. When it is dropped, the next call's turn begins.
#[derive(Debug)]
pub struct Turn(Option<Arc<Shared>>);

impl Turns {
    /// Creates a scheduler with `running_max` concurrent turns. At most `waiting_max` calls wait; when one more
    /// arrives, the last call of the address with most waiting calls is refused.
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        Self(Arc::new(Shared { running_max, waiting_max, lines: Mutex::default() }))
    }

    /// Waits for a turn. Returns `None` if the turn does not come within `patience`, or if the call is refused because
    /// too many wait.
    pub async fn next(&self, client: &Client, patience: Duration) -> Option<Turn> {
        let turn = match self.0.join(client.address) {
            Ok(turn) => return Some(turn),
            Err(turn) => timeout(patience, turn).await,
        };
        let turn = turn.ok().and_then(Result::ok);
        if turn.is_none() {
            client.count(Refused::NoTurn);
        }
        turn
    }
}

impl Shared {
    /// Returns a turn, or as `Err` the channel on which the turn will arrive.
    fn join(self: &Arc<Self>, address: IpAddr) -> Result<Turn, oneshot::Receiver<Turn>> {
        let mut lines = self.lock();
        if lines.running < self.running_max {
            lines.running += 1;
            return Ok(Turn(Some(self.clone())));
        }
        let (turn, receiver) = oneshot::channel();
        if lines.waiting >= self.waiting_max {
            lines.forget_who_left();
        }
        lines.push(address, turn);
        if lines.waiting > self.waiting_max {
            lines.refuse_one();
        }
        Err(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("a thread that panics stops the process")
    }
}

impl Lines {
    fn push(&mut self, address: IpAddr, turn: oneshot::Sender<Turn>) {
        self.waiting += 1;
        match self.of_addresses.iter_mut().find(|(of, _)| *of == address) {
            Some((_, line)) => line.push_back(turn),
            None => self.of_addresses.push_back((address, VecDeque::from([turn]))),
        }
    }

    /// Removes and returns the first call of the address whose turn it is.
    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (address, mut line) = self.of_addresses.pop_front()?;
        let turn = line.pop_front();
        if !line.is_empty() {
            self.of_addresses.push_back((address, line));
        }
        self.waiting -= 1;
        turn
    }

    /// Refuses the last call of the address with most calls; of several such addresses, of the one that is last in
    /// order.
    fn refuse_one(&mut self) {
        let Some((_, line)) = self.of_addresses.iter_mut().max_by_key(|(_, line)| line.len()) else { return };
        line.pop_back();
        self.waiting -= 1;
        self.of_addresses.retain(|(_, line)| !line.is_empty());
    }

    fn forget_who_left(&mut self) {
        for (_, line) in &mut self.of_addresses {
            line.retain(|turn| !turn.is_closed());
        }
        self.of_addresses.retain(|(_, line)| !line.is_empty());
        self.waiting = self.of_addresses.iter().map(|(_, line)| line.len()).sum();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        loop {
            let next = {
                let mut lines = shared.lock();
                let next = lines.pop();
                lines.running -= usize::from(next.is_none());
                next
            };
            // Done without the lock: when the receiver is gone, the turn comes back from `send` and the next call gets
            // it.
            match next.map(|next| next.send(Turn(Some(shared.clone())))) {
                None | Some(Ok(())) => return,
                Some(Err(mut turn)) => turn.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::connected, *};

    type Waits = oneshot::Receiver<Turn>;

    fn waits(turns: &Turns, client: &Client) -> Waits {
        turns.0.join(client.address).expect_err("all turns are taken")
    }

    fn has_turn(waits: &mut Waits) -> Option<Turn> {
        waits.try_recv().ok()
    }

    #[test]
    fn addresses_take_turns() {
        let (turns, [one, two, _]) = (Turns::new(1, 10), connected());
        let running = turns.0.join(one.address).unwrap();
        let [mut first, mut second, mut third] = [(); 3].map(|()| waits(&turns, &one));
        let mut other = waits(&turns, &two);
        drop(running);
        let running = has_turn(&mut first).unwrap();
        assert!(has_turn(&mut second).is_none() && has_turn(&mut other).is_none(), "one at a time");
        drop(running);
        let running = has_turn(&mut other).expect("the other address goes before the second call of the first");
        drop(second); // its client has left: the next call has its turn
        drop(running);
        drop(has_turn(&mut third).unwrap());
        let lines = turns.0.lock();
        assert_eq!((lines.running, lines.waiting), (0, 0));
    }

    #[test]
    fn an_address_that_fills_the_line_gives_way_to_others() {
        let (turns, [one, two, three]) = (Turns::new(1, 4), connected());
        let _running = turns.0.join(one.address).unwrap();
        let is_refused = |waits: &mut Waits| matches!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let mut of_one = [(); 4].map(|()| waits(&turns, &one));
        assert!(is_refused(&mut waits(&turns, &one)), "a line that is full of its own calls");
        let mut of_two = [(); 2].map(|()| waits(&turns, &two));
        assert_eq!(of_one.each_mut().map(is_refused), [false, false, true, true]);
        let mut of_three = waits(&turns, &three);
        assert!(!is_refused(&mut of_three));
        assert_eq!(of_two.each_mut().map(is_refused), [false, true]);
        drop(of_one);
        let _more = waits(&turns, &three);
        assert_eq!(turns.0.lock().waiting, 3, "who has gone makes room first");
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_in_time_is_not_waited_for() {
        let (turns, [one, two, _]) = (Turns::new(1, 10), connected());
        let running = turns.next(&one, Duration::ZERO).await.unwrap();
        assert!(turns.next(&two, Duration::from_millis(1)).await.is_none());
        drop(running);
        assert!(turns.next(&two, Duration::ZERO).await.is_some());
    }
}
