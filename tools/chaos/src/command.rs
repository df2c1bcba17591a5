//! Other programs: run to their end, with a time limit.

use std::{
    io::Read,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::ChaosError;

/// Interval between two checks whether a program has ended.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// Runs a program to its end and returns its standard output. It must write less than a pipe holds (64 KiB).
///
/// Errors: [`ChaosError::Machine`] with the command and its standard error if it cannot be started, does not end in
/// time, or fails.
pub fn run(command: &mut Command, time_max: Duration) -> Result<String, ChaosError> {
    let text = format!("{command:?}");
    let failed = |error: String| ChaosError::Machine(format!("{text}: {error}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let until = Instant::now() + time_max;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(LOOK_PERIOD),
            ended => {
                let _ = child.kill(); // it may have ended in this moment
                let _ = child.wait();
                return Err(failed(match ended {
                    Err(error) => error.to_string(),
                    Ok(_) => format!("does not end within {} s", time_max.as_secs()),
                }));
            }
        }
    };
    let (mut out, mut err) = (String::new(), String::new());
    let read = |from: Option<&mut dyn Read>, into: &mut String| {
        from.map_or(Ok(0), |from| from.read_to_string(into)).map_err(|error| failed(error.to_string()))
    };
    read(child.stdout.as_mut().map(|out| out as &mut dyn Read), &mut out)?;
    read(child.stderr.as_mut().map(|err| err as &mut dyn Read), &mut err)?;
    if status.success() { Ok(out) } else { Err(failed(format!("{status}: {}", err.trim()))) }
}

/// Runs a command line, whose words are separated by spaces, to its end.
///
/// Errors: those of [`run`].
pub fn line(words: &str) -> Result<String, ChaosError> {
    let mut words = words.split_whitespace();
    let program = words.next().unwrap_or_default();
    run(Command::new(program).args(words), Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_or_hangs_is_an_error_with_its_words() {
        assert_eq!(line("echo a b").unwrap(), "a b\n");
        let failed = run(Command::new("sh").args(["-c", "echo no >&2; exit 3"]), Duration::from_secs(5)).unwrap_err();
        assert!(failed.to_string().contains("exit status: 3: no"), "{failed}");
        let hangs = run(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert!(hangs.to_string().contains("does not end"), "{hangs}");
        assert!(line("no-such-program-here").is_err());
    }
}
