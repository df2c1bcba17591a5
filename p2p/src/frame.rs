//! Frames on a stream: the length of the body (four bytes, big endian) and the body; and the limit on the rate of
//! reading.

use std::io;
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt};

/// Maximum bytes that are reserved before the body arrives, so that an announced length alone costs no memory.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// The reason why no frame was read.
#[derive(Debug)]
pub(crate) enum FrameError {
    /// The stream ended or broke.
    Closed(io::Error),
    /// The announced length is above the bound.
    Oversized { got: usize, max: usize },
}

/// Reads one frame of at most `max` bytes.
///
/// Errors: [`FrameError::Oversized`] if the announced length is above `max`, [`FrameError::Closed`] if the stream ends
/// or breaks first.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), max: usize) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(FrameError::Closed)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > max {
        return Err(FrameError::Oversized { got: length, max });
    }
    // The buffer grows with what has arrived, and ends with no reserve: it may wait in a queue that is bounded in bytes.
    let mut body = Vec::new();
    while body.len() < length {
        let arrived = body.len();
        let more = (length - arrived).min(arrived.max(RESERVE_BYTES_MAX));
        body.reserve_exact(more);
        body.resize(arrived + more, 0);
        stream.read_exact(&mut body[arrived..]).await.map_err(FrameError::Closed)?;
    }
    Ok(body)
}

/// Appends one frame to a buffer. `body` is shorter than 4 GiB, as the bounds of all channels are.
pub(crate) fn append(buffer: &mut Vec<u8>, body: &[u8]) {
    buffer.extend_from_slice(&(body.len() as u32).to_be_bytes());
    buffer.extend_from_slice(body);
}

/// A limit on bytes and messages per second, with a burst of one second. Costs are charged after a read; the reader
/// then waits.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes_per_second: f64,
    messages_per_second: f64,
    bytes: f64,
    messages: f64,
    at: Instant,
}

impl Rate {
    pub(crate) fn new(now: Instant, bytes_per_second: u64, messages_per_second: u64) -> Rate {
        let (bytes, messages) = (bytes_per_second as f64, messages_per_second as f64);
        Rate { bytes_per_second: bytes, messages_per_second: messages, bytes, messages, at: now }
    }

    /// Charges the bytes of a message that was charged before. Returns how long to wait before the next message.
    pub(crate) fn pay_bytes(&mut self, now: Instant, bytes: usize) -> Duration {
        self.messages += 1.0;
        self.pay(now, bytes)
    }

    /// Charges one message. Returns how long to wait before the next one, usually zero.
    pub(crate) fn pay(&mut self, now: Instant, bytes: usize) -> Duration {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.bytes = (self.bytes + age * self.bytes_per_second).min(self.bytes_per_second) - bytes as f64;
        self.messages = (self.messages + age * self.messages_per_second).min(self.messages_per_second) - 1.0;
        let debt = (-self.bytes / self.bytes_per_second).max(-self.messages / self.messages_per_second);
        Duration::from_secs_f64(debt.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::io::Cursor;

    use super::*;

    fn read_all(bytes: &[u8], max: usize) -> Result<Vec<u8>, FrameError> {
        read(&mut Cursor::new(bytes), max).now_or_never().expect("a cursor is always ready")
    }

    #[test]
    fn frames_survive_and_bounds_hold() {
        let mut bytes = Vec::new();
        append(&mut bytes, b"hello");
        assert_eq!(bytes, b"\0\0\0\x05hello");
        assert_eq!(read_all(&bytes, 5).unwrap(), b"hello");
        assert!(matches!(read_all(&bytes, 4), Err(FrameError::Oversized { got: 5, max: 4 })));
        for cut in 0..bytes.len() {
            assert!(matches!(read_all(&bytes[..cut], 5), Err(FrameError::Closed(_))), "cut at {cut}");
        }
        assert!(matches!(read_all(&[0xff; 8], 1 << 20), Err(FrameError::Oversized { .. })));
    }

    #[test]
    fn a_body_takes_no_more_memory_than_its_bytes() {
        for length in [1, 200, RESERVE_BYTES_MAX, RESERVE_BYTES_MAX + 1, 5 * RESERVE_BYTES_MAX] {
            let mut bytes = Vec::new();
            append(&mut bytes, &vec![7; length]);
            let body = read_all(&bytes, 1 << 20).unwrap();
            assert_eq!((body.len(), body.capacity()), (length, length));
        }
    }

    #[test]
    fn the_rate_lets_a_burst_pass_and_then_delays() {
        let now = Instant::now();
        let mut rate = Rate::new(now, 1000, 10);
        for _ in 0..10 {
            assert_eq!(rate.pay(now, 10), Duration::ZERO);
        }
        assert_eq!(rate.pay(now, 10), Duration::from_millis(100), "the eleventh message of a second");
        let mut rate = Rate::new(now, 1000, 10);
        assert_eq!(rate.pay(now, 3000), Duration::from_secs(2));
        assert_eq!(rate.pay(now + Duration::from_secs(3600), 0), Duration::ZERO, "idle time is not saved up");
        assert_eq!(rate.pay(now + Duration::from_secs(3600), 1500), Duration::from_millis(500));
    }
}
