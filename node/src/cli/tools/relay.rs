//! `cairn relay` simulates a bad network between two ports.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use clap::Args;
use faults::relay::{self, Change, LinkSpec, Settings};
use node::{exit::Failure, os};

use crate::cli::{args::duration, output, signals};

const HELP: &str = "\
Examples:
  cairn relay a=127.0.0.1:7001/127.0.0.1:26656 --delay 50ms --jitter 5ms
  cairn relay a=127.0.0.1:7001/node1:26656 b=127.0.0.1:7002/node2:26656 --control 127.0.0.1:7000
  curl -d 'a delay=100ms rate=1000000' 127.0.0.1:7000     changes one link from now on
  curl -d '* cut' 127.0.0.1:7000                          all links: nothing is forwarded
  curl -d '* open' 127.0.0.1:7000                         all links: no delay, limit or cut
  curl 127.0.0.1:7000                                     settings, and what was forwarded

A link forwards TCP and UDP from its port to its target and back, each direction with the delay and
the rate. It needs no privileges and no support of the kernel. Settings: delay=50ms, jitter=5ms,
rate=1000000 (bytes per second), rate=off, cut, heal, open. A line changes the links that it names
(a,b or *), also for open connections. While a link is cut, streams wait and datagrams are lost.

Delayed data is held in memory, at most 2 MiB for each direction of a connection; beyond that,
senders of streams wait and datagrams are lost. Anyone who can reach the control address controls
the relay: keep it on loopback or in a trusted network. Ctrl-C or SIGTERM stops it.";

/// Forward TCP and UDP with delay, jitter and a rate limit, or block them
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Relay {
    /// Links, each NAME=LISTEN/TARGET; the listening port 0 means any free port
    #[arg(required = true, value_name = "LINK", value_parser = |text: &str| text.parse::<LinkSpec>())]
    links: Vec<LinkSpec>,
    /// Address of the HTTP interface that changes the links [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    control: Option<String>,
    /// Delay in each direction of all links
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0")]
    delay: Duration,
    /// Maximum random addition to the delay
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0")]
    jitter: Duration,
    /// Maximum bytes per second in each direction of a connection [default: no limit]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
}

impl Relay {
    /// Runs the relay until a signal stops it.
    ///
    /// Errors: a setting is invalid, signals cannot be handled, or the relay or its control cannot listen at its
    /// address.
    pub fn run(self) -> Result<(), Failure> {
        let settings = self.settings()?;
        let (to, stopped) = mpsc::channel();
        signals::on_each(move |_| {
            // The receiver is gone if the relay is stopping already, so a failure needs no handling.
            let _ = to.send(());
        })?;
        // The forwarding threads inherit this setting, so that they wake on time for delayed data.
        os::prefer_latency();
        let relay = Arc::new(relay::Relay::start(&self.links, settings).map_err(Failure::refused)?);
        if let Some(control) = &self.control {
            let address = relay::serve(relay.clone(), control).map_err(Failure::refused)?;
            output::line(format_args!("control at http://{address}"));
        }
        output::line(relay.status().trim_end());
        // The sender lives in the signal thread, so this call returns only after a signal.
        let _ = stopped.recv();
        Ok(())
    }

    /// Returns the settings of the flags, parsed by the rules for changes on the control address.
    fn settings(&self) -> Result<Settings, Failure> {
        let mut words =
            vec![format!("delay={}us", self.delay.as_micros()), format!("jitter={}us", self.jitter.as_micros())];
        words.extend(self.rate.map(|rate| format!("rate={rate}")));
        let changes = words.iter().map(|word| word.parse()).collect::<Result<Vec<Change>, String>>();
        Ok(Settings::default().with(&changes.map_err(Failure::refused)?))
    }
}
