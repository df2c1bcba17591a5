//! Clocks that can be shifted while a process runs: a library that is loaded before the program answers for the system.
//!
//! Each validator has a file with the number of milliseconds that are added to its clock. The library maps the file, so a
//! change acts at once. Times that only measure intervals stay right, as on a real machine.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{ChaosError, command};

/// Environment variable with the path of the file of a process.
const VARIABLE: &str = "CHAOS_CLOCK";

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset_ms;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void load(void) {
    const char *path = getenv("CHAOS_CLOCK");
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof *offset_ms, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) offset_ms = page;
}

int clock_gettime(clockid_t id, struct timespec *out) {
    if (!real_gettime) load();
    int failed = real_gettime(id, out);
    if (!failed && offset_ms && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)out->tv_sec * 1000000000 + out->tv_nsec + *offset_ms * 1000000;
        out->tv_sec = ns / 1000000000;
        out->tv_nsec = ns % 1000000000;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    if (!failed) { out->tv_sec = now.tv_sec; out->tv_usec = now.tv_nsec / 1000; }
    return failed;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;

/// The library that shifts clocks.
pub struct Shim(PathBuf);

impl Shim {
    /// Compiles the library into a folder, and checks with `date` that it works. Returns the reason if it does not.
    ///
    /// Errors: a sentence that says why clocks cannot be shifted here.
    pub fn compile(folder: &Path) -> Result<Self, String> {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        fs::write(&source, SOURCE).map_err(|error| format!("{}: {error}", source.display()))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        command::run(&mut compiler, Duration::from_secs(60)).map_err(|error| format!("no C compiler: {error}"))?;
        let shim = Self(library);
        let clock = Clock::create(&folder.join("clock.try")).map_err(|error| error.to_string())?;
        clock.set(-1_000_000_000_000).map_err(|error| error.to_string())?;
        let mut date = Command::new("date");
        date.arg("+%s").envs(shim.environment(&clock));
        let seconds = command::run(&mut date, Duration::from_secs(10)).map_err(|error| error.to_string())?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let shifted = now.saturating_sub(1_000_000_000);
        match seconds.trim().parse::<u64>() {
            Ok(seconds) if seconds.abs_diff(shifted) < 60 => Ok(shim),
            _ => Err(format!("a library does not shift the clock of programs here: date says {seconds:?}")),
        }
    }

    /// Returns the environment of a process with this clock.
    pub fn environment(&self, clock: &Clock) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![("LD_PRELOAD".to_owned(), text(&self.0)), (VARIABLE.to_owned(), text(&clock.0))]
    }
}

/// The file with the offset of one clock.
#[derive(Clone, Debug)]
pub struct Clock(PathBuf);

impl Clock {
    /// Creates the file of a right clock.
    ///
    /// Errors: [`ChaosError::Machine`] if the file cannot be written.
    pub fn create(path: &Path) -> Result<Self, ChaosError> {
        let failed = |error| ChaosError::machine(path.display(), error);
        fs::write(path, 0_i64.to_ne_bytes()).map_err(failed)?;
        Ok(Self(path.to_owned()))
    }

    /// Sets the number of milliseconds that are added to the clock.
    ///
    /// Errors: [`ChaosError::Machine`] if the file cannot be written.
    pub fn set(&self, offset_ms: i64) -> Result<(), ChaosError> {
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).open(&self.0)?;
            file.write_all(&offset_ms.to_ne_bytes()) // in place: processes have mapped the file
        };
        write().map_err(|error| ChaosError::machine(self.0.display(), error))
    }
}
