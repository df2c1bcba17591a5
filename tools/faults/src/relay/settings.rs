//! The settings of a link, and their text form.

use std::{fmt, str::FromStr, time::Duration};

/// Maximum delay, and maximum jitter.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Minimum rate in bytes per second: below it, one packet takes too long to be useful.
const RATE_MIN: u64 = 1_000;
/// Maximum number of characters of a link's name.
const NAME_MAX: usize = 64;

/// What a link does to the data, in both directions alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Minimum time by which all data arrives later.
    pub delay: Duration,
    /// Maximum random time that is added to the delay; order is kept.
    pub jitter: Duration,
    /// Maximum rate in bytes per second; `None`: no limit.
    pub rate: Option<u64>,
    /// True if nothing passes. Streams wait, as TCP does when a network is down; datagrams are lost.
    pub is_cut: bool,
}

/// One change of a setting: `delay=50ms`, `jitter=5ms`, `rate=1000000`, `rate=off`, `cut`, `heal`, or `open`, which
/// resets all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets the delay of one direction.
    Delay(Duration),
    /// Sets the maximum of the jitter.
    Jitter(Duration),
    /// Sets the rate in bytes per second, or no limit.
    Rate(Option<u64>),
    /// Cuts the link if true, heals it if false.
    Cut(bool),
    /// Resets all settings: no delay, no limit, no cut.
    Open,
}

impl Settings {
    /// Returns the settings after these changes, applied in order.
    pub fn with(mut self, changes: &[Change]) -> Self {
        for change in changes {
            match *change {
                Change::Delay(delay) => self.delay = delay,
                Change::Jitter(jitter) => self.jitter = jitter,
                Change::Rate(rate) => self.rate = rate,
                Change::Cut(is_cut) => self.is_cut = is_cut,
                Change::Open => self = Self::default(),
            }
        }
        self
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(f, "delay={}ms jitter={}ms ", ms(self.delay), ms(self.jitter))?;
        match self.rate {
            Some(rate) => write!(f, "rate={rate}")?,
            None => f.write_str("rate=off")?,
        }
        f.write_str(if self.is_cut { " cut" } else { "" })
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || {
            format!(
                "{:?} is no setting: use delay=50ms, jitter=5ms, rate=1000000 (bytes per second), rate=off, cut, heal or open",
                text.chars().take(80).collect::<String>()
            )
        };
        let time = |text: &str| duration(text).ok_or_else(usage);
        match text.split_once('=') {
            None if text == "cut" => Ok(Self::Cut(true)),
            None if text == "heal" => Ok(Self::Cut(false)),
            None if text == "open" => Ok(Self::Open),
            Some(("delay", value)) => Ok(Self::Delay(time(value)?)),
            Some(("jitter", value)) => Ok(Self::Jitter(time(value)?)),
            Some(("rate", "off")) => Ok(Self::Rate(None)),
            Some(("rate", value)) => match value.parse() {
                Ok(rate) if rate >= RATE_MIN => Ok(Self::Rate(Some(rate))),
                Ok(rate) => Err(format!("rate={rate} is too little: use at least {RATE_MIN} bytes per second, or cut")),
                Err(_) => Err(usage()),
            },
            _ => Err(usage()),
        }
    }
}

/// Parses `50ms`, `1.5s` or `250us`, at most [`DELAY_MAX`].
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * seconds).ok().filter(|duration| *duration <= DELAY_MAX)
}

/// A change of some links: `0-1,0-2 delay=50ms jitter=5ms`. `*` means all links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Names of the links; `None` means all links.
    pub links: Option<Vec<String>>,
    /// Changes in the order in which they are applied.
    pub changes: Vec<Change>,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let links = match words.next() {
            None => return Err("an empty line: write `* delay=50ms`, or `NAME,NAME cut`".to_owned()),
            Some("*") => None,
            Some(names) => Some(names.split(',').map(name).collect::<Result<_, _>>()?),
        };
        let changes = words.map(str::parse).collect::<Result<Vec<Change>, _>>()?;
        if changes.is_empty() {
            return Err("nothing is to change: write `* delay=50ms`, or `NAME,NAME cut`".to_owned());
        }
        Ok(Self { links, changes })
    }
}

/// Definition of a link: `NAME=HOST:PORT/HOST:PORT`, the address where it listens and the target to which it forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// Name of the link in orders.
    pub name: String,
    /// IP address and port where the link listens.
    pub listen: String,
    /// Host and port of the target. The host is resolved again for each connection.
    pub target: String,
}

impl FromStr for LinkSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage =
            || format!("{text:?} is no link: write NAME=LISTEN/TARGET, such as a=127.0.0.1:7001/127.0.0.1:26656");
        let (called, rest) = text.split_once('=').ok_or_else(usage)?;
        let (listen, target) = rest.split_once('/').ok_or_else(usage)?;
        let has_port = |text: &str| {
            let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        };
        if !has_port(listen) || !has_port(target) {
            return Err(usage());
        }
        Ok(Self { name: name(called)?, listen: listen.to_owned(), target: target.to_owned() })
    }
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.>".contains(c);
    if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(is_plain) {
        let shown: String = text.chars().take(NAME_MAX).collect();
        return Err(format!("{shown:?} is no link's name: use up to {NAME_MAX} letters, digits and -_.>"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn orders_change_what_they_name_and_nothing_else() {
        let order: Order = "0-1,a>b  delay=50ms jitter=1.5ms rate=1000000 cut".parse().unwrap();
        assert_eq!(order.links, Some(vec!["0-1".to_owned(), "a>b".to_owned()]));
        let settings = Settings::default().with(&order.changes);
        let expected =
            Settings { delay: ms(50), jitter: Duration::from_micros(1500), rate: Some(1_000_000), is_cut: true };
        assert_eq!(settings, expected);
        assert_eq!(settings.to_string(), "delay=50ms jitter=1.5ms rate=1000000 cut");
        let healed = settings.with(&"* heal rate=off".parse::<Order>().unwrap().changes);
        assert_eq!(healed, Settings { rate: None, is_cut: false, ..expected });
        assert_eq!(healed.with(&[Change::Open]), Settings::default());
        assert_eq!("* open".parse::<Order>().unwrap().links, None);
    }

    #[test]
    fn other_lines_are_refused_with_a_sentence() {
        for (line, reason) in [
            ("", "empty line"),
            ("*", "nothing is to change"),
            ("a/b cut", "no link's name"),
            (&format!("{} cut", "a".repeat(65)), "up to 64"),
            ("* delay", "no setting"),
            ("* delay=50", "no setting"),
            ("* delay=-1ms", "no setting"),
            ("* delay=1h", "no setting"),
            ("* delay=NaNms", "no setting"),
            ("* delay=1e300s", "no setting"),
            ("* delay=61s", "no setting"),
            ("* rate=x", "no setting"),
            ("* rate=999", "too little"),
        ] {
            let error = line.parse::<Order>().unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn a_link_has_a_name_and_two_ends() {
        let link: LinkSpec = "0-1=0.0.0.0:7001/node1:26656".parse().unwrap();
        assert_eq!(
            (link.name.as_str(), link.listen.as_str(), link.target.as_str()),
            ("0-1", "0.0.0.0:7001", "node1:26656")
        );
        assert!("v6=[::1]:7001/[::1]:1".parse::<LinkSpec>().is_ok());
        for bad in ["", "a", "a=1", "a=:1/b:2", "a=h:1/b", "a=h:x/b:2", "a b=h:1/b:2", "=h:1/b:2", "a=h:1/b:70000"] {
            assert!(bad.parse::<LinkSpec>().is_err(), "{bad}");
        }
    }
}
